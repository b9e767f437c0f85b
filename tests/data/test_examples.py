import helpers_data
import pytest
import seqio

from keras_switch.data import DataConfig, FileTask, batches
from keras_switch.data.corpus_vocabulary import CorpusVocabulary

BYTES = seqio.ByteVocabulary()


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("inputs\ttargets\nshort\tyes\nlong, longer\tno\n")
    return FileTask({"train": str(path)}, labels=("yes", "no"))


def made(spec, lengths, **changes):
    return batches(
        DataConfig(spec, lengths, 2, **{"vocabulary": BYTES} | changes),
        "encoder-decoder",
    )


def test_targets_that_do_not_fit_are_refused_with_the_room_they_need(spec):
    with pytest.raises(ValueError, match=r"(?s)Example 0 of task 'file'.*4 tokens of "):
        made(spec, {"inputs": 16, "targets": 3})
    made(spec, {"inputs": 16, "targets": 4})


def test_inputs_are_cut_unless_the_config_says_otherwise(spec):
    made(spec, {"inputs": 8, "targets": 4})
    with pytest.raises(ValueError, match=r"Example 1 .*13 tokens of 'inputs'"):
        made(spec, {"inputs": 8, "targets": 4}, cut=())


def test_what_may_be_cut_is_not_looked_at(spec):
    made(spec, {"inputs": 8, "targets": 2}, cut=("inputs", "targets"))


def test_labels_outside_the_vocabulary_are_refused(spec):
    foreign = CorpusVocabulary("foreign", lambda: ["bbb aaa"] * 9, 108)
    with pytest.raises(ValueError, match="label 'yes' of task 'file' is outside"):
        made(spec, {"inputs": 8, "targets": 8}, vocabulary=foreign)


def test_ids_beyond_the_models_table_are_refused_before_the_first_step(spec):
    from keras_switch.models import PRESETS

    config = DataConfig(spec, {"inputs": 8, "targets": 8}, 2, vocabulary=BYTES)
    with helpers_data.registered("wide", helpers_data.counted(4), num_ids=5000):
        wide = DataConfig("wide", {"inputs": 8, "targets": 8}, 2)
        with pytest.raises(ValueError, match=r"vocab_size=1024, but .*5000 ids"):
            batches(wide, PRESETS["t5_tiny"].config)
    batches(config, PRESETS["t5_tiny"].config)
