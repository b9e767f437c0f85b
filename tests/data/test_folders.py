import pytest

from keras_switch.data import folders


def test_a_file_lies_in_the_folder_that_the_variable_names(tmp_path, monkeypatch):
    (tmp_path / "sst2").mkdir()
    (tmp_path / "sst2" / "train.tsv").write_text("")
    monkeypatch.setenv("KERAS_SWITCH_DATA", str(tmp_path))
    assert folders.data_file("sst2", "train.tsv") == tmp_path / "sst2" / "train.tsv"


def test_without_the_variable_the_error_says_what_to_set(monkeypatch):
    monkeypatch.delenv("KERAS_SWITCH_DATA", raising=False)
    with pytest.raises(
        FileNotFoundError, match=r"KERAS_SWITCH_DATA to the folder .* sst2/train.tsv"
    ):
        folders.data_file("sst2", "train.tsv")


def test_a_missing_file_is_named_with_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_SWITCH_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"no file {tmp_path}/sst2/train.tsv"):
        folders.data_file("sst2", "train.tsv")
