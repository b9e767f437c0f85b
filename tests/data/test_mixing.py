import helpers_data
import pytest
import seqio

from keras_switch.data import DataConfig, Equal, Proportional, TaskMixture, batches
from keras_switch.data.mixing import add_mixture
from keras_switch.data.text_source import TextSource

LENGTHS = {"inputs": 8, "targets": 8}


class Sized:
    """A task of so many examples."""

    def __init__(self, size):
        self.source = TextSource(lambda split: [{}] * size, ("train",))

    num_input_examples = None


def test_rates_are_capped_and_tempered():
    sizes = 100, 400, 10_000
    assert [Proportional()(Sized(n)) for n in sizes] == [100, 400, 10_000]
    assert [Proportional(maximum=400)(Sized(n)) for n in sizes] == [100, 400, 400]
    tempered = Proportional(maximum=400, temperature=2.0)
    assert [tempered(Sized(n)) for n in sizes] == [10, 20, 20]
    assert [Equal()(Sized(n)) for n in sizes] == [1, 1, 1]


@pytest.mark.parametrize("numbers", [{"maximum": 0}, {"temperature": 0.0}])
def test_a_number_that_makes_no_rate_is_refused(numbers):
    with pytest.raises(ValueError, match="above 0"):
        Proportional(**numbers)


@pytest.fixture
def two():
    with (
        helpers_data.registered("first", helpers_data.counted(4)),
        helpers_data.registered("second", helpers_data.counted(4, first=500)),
    ):
        yield


def drawn(spec, split="train"):
    config = DataConfig(spec, LENGTHS, 64, split, pack=False)
    _, targets, _ = next(iter(batches(config, "encoder-decoder")))
    return (targets.numpy()[:, 0] >= 500).mean(), targets.numpy()


def test_a_dictionary_gives_the_rates_of_a_mixture(two):
    share, _ = drawn(TaskMixture({"first": 1, "second": 3}))
    assert 0.6 < share < 0.9  # 64 draws at 0.75
    assert drawn(TaskMixture({"first": 0, "second": 3}))[0] == 1


def test_a_mixture_of_mixtures_keeps_their_rates(two):
    add_mixture("inner", ["first", "second"], Equal())
    try:
        mixture = TaskMixture(["inner", "first"], Equal()).task()
        rates = {task.name: mixture.get_rate(task) for task in mixture.tasks}
        assert rates == {"first": 2, "second": 1}
    finally:
        seqio.MixtureRegistry.remove("inner")


def test_each_task_of_a_mixture_may_have_less_room(two):
    spec = TaskMixture(["first", "second"], Equal(), {"second": {"targets": 1}})
    _, targets = drawn(spec)
    lengths = (targets > 0).sum(-1)
    second = targets[:, 0] >= 500
    assert set(lengths[second]) == {1}
    assert set(lengths[~second]) == {1, 2, 3}


def test_rates_that_sum_to_zero_are_refused_before_the_first_step(two):
    with pytest.raises(ValueError, match=r"must be 0 or more and not all 0.*first 0"):
        drawn(TaskMixture({"first": 0, "second": 0}))
    with pytest.raises(ValueError, match="second -1"):
        drawn(TaskMixture({"first": 2, "second": -1}))


def test_tasks_of_other_features_or_vocabularies_are_not_mixed(two):
    other = helpers_data.registered("other", helpers_data.counted(4), num_ids=2000)
    alone = helpers_data.registered("alone", [{"targets": [1, 2]}])
    with other, alone:
        with pytest.raises(
            ValueError, match="same vocabulary, but 'first' and 'other'"
        ):
            drawn(TaskMixture(["first", "other"], Equal()))
        with pytest.raises(ValueError, match=r"same features.*'alone' \['targets'\]"):
            drawn(TaskMixture(["first", "alone"], Equal()))
        add_mixture("registered", ["first", "other"], Equal())
        with pytest.raises(ValueError, match="same vocabulary"):
            drawn("registered")
        seqio.MixtureRegistry.remove("registered")
        words = seqio.PassThroughVocabulary(size=2000)
        both = TaskMixture(["first", "other"], Equal())
        config = DataConfig(both, LENGTHS, 4, vocabulary=words)
        assert next(iter(batches(config, "encoder-decoder")))


def test_a_mixture_says_what_is_wrong_with_it(two):
    with pytest.raises(ValueError, match="tasks is empty"):
        TaskMixture([])
    with pytest.raises(ValueError, match=r"about \['third'\], but tasks are"):
        TaskMixture(["first"], lengths={"third": {"targets": 1}})
    with pytest.raises(ValueError, match=r"given for \['target'\], but its features"):
        TaskMixture(["first"], Equal(), {"first": {"target": 1}}).task()
    with pytest.raises(ValueError, match="does not tell how many examples"):
        drawn(TaskMixture(["first", "second"]))
    with pytest.raises(ValueError, match="nearest names are 'second'"):
        TaskMixture(["secnd"]).task()
