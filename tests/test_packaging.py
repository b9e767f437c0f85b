"""A wheel, installed elsewhere, runs the main job's first steps from another folder."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PARTS = ("keras_switch", "tasks", "gin", "setup.py", "pyproject.toml", "README.md")
FIRST_STEPS = {
    "TRAIN_STEPS": 2,
    "EVAL_EVERY": 2,
    "BATCH_SIZE": 2,
    "ModelConfig.d_model": 16,
    "ModelConfig.d_ff": 32,
    "ModelConfig.num_layers": 2,
}
WHERE = """
import pathlib, keras_switch, keras_switch.tasks, gin
from keras_switch.cli.gin_files import config_root
print(pathlib.Path(keras_switch.__file__).parent)
print(pathlib.Path(keras_switch.tasks.__file__).parent)
print(config_root())
"""


def test_the_gin_folder_is_no_package():
    # An `__init__.py` there would hide gin-config from all that runs in a checkout.
    assert not [*(ROOT / "gin").rglob("__init__.py")]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Returns the Python of a fresh environment that holds the wheel.

    What the package depends on is borrowed from the environment of the tests, all but
    the package itself.
    """
    folder = tmp_path_factory.mktemp("packaging")
    source = folder / "source"
    source.mkdir()
    for name in PARTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir"]
    subprocess.run([*build, folder / "dist", source], check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")

    environment = folder / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    install = [python, "-m", "pip", "install", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    # A plain path, at the end: .pth files of the borrowed folder are not read, so an
    # editable install there is not seen.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run(python, *arguments, cwd):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [python, *map(str, arguments)],
        cwd=cwd,
        env=clean,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.slow
def test_code_tasks_and_gin_files_are_those_of_the_wheel(installed, tmp_path):
    package, tasks, gin = run(installed, "-c", WHERE, cwd=tmp_path).split()[-3:]
    root = pathlib.Path(package)
    assert installed.parent.parent in root.parents
    assert pathlib.Path(tasks) == root / "tasks"
    assert pathlib.Path(gin) == root / "configs"
    shipped = {file.relative_to(gin) for file in pathlib.Path(gin).rglob("*.gin")}
    assert shipped == {f.relative_to(ROOT / "gin") for f in ROOT.glob("gin/**/*.gin")}


@pytest.mark.slow
def test_the_wheel_makes_the_first_steps_of_the_demo(installed, tmp_path):
    values = [f"--gin.{name}={value}" for name, value in FIRST_STEPS.items()]
    command = installed.parent / "keras-switch"
    printed = run(installed, command, "demo", *values, cwd=tmp_path)
    assert "held-out loss" in printed
    assert (tmp_path / "runs" / "demo" / "results.json").is_file()
