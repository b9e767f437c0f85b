"""The Python in the pages is run, top to bottom, as a reader would type it."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = ("README.md", "docs/tutorial_keras.md", "docs/planning.md")


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S
    )
    assert blocks
    scope = {}
    for block in blocks:
        exec(compile(block, page, "exec"), scope)
