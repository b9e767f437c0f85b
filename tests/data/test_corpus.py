import pytest

from keras_switch.data import corpus

FOX = "The quick brown fox jumps over the lazy dog that is asleep in the sun."
CAT = "A cat that is not asleep is the one that can be seen on the roof at night."
COW = "The cow is in the field with the other cows, and it will be there for days."


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Returns the folder of an importable package, found but never imported."""
    folder = tmp_path / "somepackage"
    folder.mkdir()
    (folder / "__init__.py").write_text(f'"""{FOX}\n\n{CAT}"""\nraise SystemExit\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("KERAS_SWITCH_CACHE", str(tmp_path / "cache"))
    yield folder
    corpus.documents.cache_clear()


def read():
    corpus.documents.cache_clear()
    return corpus.documents(packages=("somepackage",))


def test_a_docstring_is_a_document_and_nothing_is_run(package):
    assert read() == (f"{FOX} {CAT}",)


def test_a_paragraph_seen_before_is_dropped_whatever_its_case_and_digits(package):
    (package / "a.py").write_text(f'"""{FOX.upper()} 7\n\n{COW}"""')
    (package / "b.py").write_text(f'"""{CAT}"""')
    assert read() == (f"{FOX} {CAT}", COW)


def test_tests_and_unreadable_encodings_are_left_out(package):
    (package / "some_test.py").write_text(f'"""{COW}"""')
    (package / "tests").mkdir()
    (package / "tests" / "a.py").write_text(f'"""{COW}"""')
    (package / "latin.py").write_bytes(f'"""{COW} \xe9"""'.encode("latin-1"))
    assert read() == (f"{FOX} {CAT}",)


def test_help_topics_are_read_as_text(package):
    folder = package / "pydoc_data"
    folder.mkdir()
    (folder / "topics.py").write_text(f"topics = {{'b': '{COW}', 'a': 'short'}}")
    assert read() == (f"{FOX} {CAT}", COW)


def test_a_second_reading_comes_from_the_cache_until_a_source_changes(package):
    read()
    (cached,) = (package.parent / "cache").iterdir()
    cached.write_text("from the cache\n")
    assert read() == ("from the cache",)
    (package / "a.py").write_text(f'"""{COW}"""')
    assert read() == (f"{FOX} {CAT}", COW)


def test_packages_that_are_not_installed_are_left_out(package):
    both = corpus.documents(packages=("nosuchpackage", "somepackage"))
    assert both == read()
    with pytest.raises(ValueError, match=r"\('nosuchpackage',\) is installed"):
        corpus.documents(packages=("nosuchpackage",))


def test_the_splits_share_no_document_and_miss_none():
    packages = ("keras",)
    train, validation = (corpus.documents(s, packages) for s in corpus.SPLITS)
    everything = corpus.documents(packages=packages)
    assert not set(train) & set(validation)
    assert set(train) | set(validation) == set(everything)
    assert len(train) + len(validation) == len(everything) > 500
    assert 0.01 < len(validation) / len(everything) < 0.06


def test_a_document_stays_in_its_split_whatever_stands_around_it():
    alone = set(corpus.documents("validation", ("numpy",)))
    among = set(corpus.documents("validation", ("keras", "numpy")))
    assert alone & among == alone & set(corpus.documents(packages=("keras", "numpy")))


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match=r"no split 'valid'.*train, validation"):
        corpus.documents("valid", ("keras",))
