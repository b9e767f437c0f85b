import errno
import pathlib

import pytest

from keras_switch.data import cache


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_SWITCH_CACHE", str(tmp_path / "new" / "cache"))
    return tmp_path / "new" / "cache"


def test_a_file_is_made_once_and_then_kept(folder):
    made = []
    for _ in range(2):
        path = cache.cached("a.txt", lambda: made.append(1) or b"text")
    assert path == folder / "a.txt"
    assert path.read_bytes() == b"text"
    assert made == [1]


def test_a_failure_while_making_leaves_no_file(folder):
    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        cache.cached("a.txt", fail)
    assert list(folder.iterdir()) == []


def test_who_makes_it_second_does_not_disturb_the_first(folder):
    def slow():
        cache.cached("a.txt", lambda: b"same")  # another process was faster
        return b"same"

    assert cache.cached("a.txt", slow).read_bytes() == b"same"
    assert [path.name for path in folder.iterdir()] == ["a.txt"]


def test_a_folder_that_cannot_be_made_names_the_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KERAS_SWITCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match=r"file/cache \(.*KERAS_SWITCH_CACHE to a folder"):
        cache.cached("a.txt", lambda: pytest.fail("made before the folder was tried"))


def test_a_full_disk_names_the_variable_and_leaves_nothing(folder, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left.*KERAS_SWITCH_CACHE.*has room"):
        cache.cached("a.txt", lambda: b"text")
    assert list(folder.iterdir()) == []


def test_without_the_variable_it_is_in_the_home_folder(monkeypatch):
    monkeypatch.delenv("KERAS_SWITCH_CACHE", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(cache.cache_dir()) == "/home/someone/.cache/keras_switch"
