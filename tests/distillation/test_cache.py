import keras
import numpy as np
import pytest
from helpers_distillation import V, batch, dataset, student
from helpers_models import tiny

from keras_switch import distillation, training
from keras_switch.distillation import DistillStep, cache_logits, cached_batches
from keras_switch.distillation.soft_targets import IDS, LOGITS

ONCE = {"shuffle": False, "num_epochs": 1}


def ones(inputs):
    return np.ones((4, 3, V), "float32")


def step_of(model, who=None):
    optimizer, loss = keras.optimizers.SGD(0.1), training.TokenCrossEntropy()
    return DistillStep(model, optimizer, loss, who)


def test_all_logits_cached_train_as_the_teacher_itself(tmp_path):
    who, config = student(1), tiny(vocab_size=V)
    assert cache_logits(who, dataset(2, repeat=False), tmp_path / "t", top_k=None) == 8
    steps = step_of(student(), who), step_of(student())
    batches = [*cached_batches(tmp_path / "t", 4, model=config, **ONCE)]
    assert len(batches) == 2
    for inputs, targets, weights in batches:
        bare = {k: v for k, v in inputs.items() if k != LOGITS}
        assert inputs["token_ids"].dtype == targets.dtype == "int32"
        wanted = steps[0]((bare, targets, weights))
        found = steps[1]((inputs, targets, weights))
        assert float(found["loss"]) == pytest.approx(float(wanted["loss"]), abs=1e-5)


def test_the_words_that_are_kept_are_the_likeliest(tmp_path):
    who = student(1)
    cache_logits(who, dataset(1, repeat=False), tmp_path / "t", top_k=3)
    ((inputs, *_),) = cached_batches(tmp_path / "t", 4, **ONCE)
    told = {name: inputs.pop(name).numpy() for name in (LOGITS, IDS)}
    whole = np.asarray(who(inputs))
    np.testing.assert_allclose(told[LOGITS], np.sort(whole)[..., :-4:-1], atol=1e-5)
    found = np.take_along_axis(whole, told[IDS], -1)
    np.testing.assert_allclose(found, told[LOGITS], atol=1e-5)


def test_a_cache_is_a_task_of_seqio_with_an_order_and_splits(tmp_path):
    import seqio

    folder = tmp_path / "mine"
    for split, number in (("train", 3), ("validation", 1)):
        cache_logits(ones, dataset(number, repeat=False), folder, split, top_k=2)
    task = seqio.get_mixture_or_task(distillation.cached_task(folder))
    assert (task.name, set(task.splits)) == ("teacher_mine", {"train", "validation"})

    def order(seed, **options):
        batches = cached_batches(folder, 4, seed=seed, **options).take(3)
        return [b[1].numpy().tolist() for b in batches]

    assert order(1) == order(1) != order(2)
    shards = [order(1, num_shards=2, shard=shard) for shard in (0, 1)]
    assert [a + b for a, b in zip(*shards, strict=True)] == order(1)


@pytest.mark.slow
def test_a_run_on_a_cache_goes_on_exactly(tmp_path):
    cache_logits(student(1), dataset(4, repeat=False), tmp_path / "t", top_k=4)

    def run(steps, folder):
        model = student()
        distillation.distill(
            model,
            None,
            keras.optimizers.Adam(0.01),
            training.TokenCrossEntropy(),
            cached_batches(tmp_path / "t", 4, seed=3),
            steps=steps,
            model_dir=folder,
            observers=[],
        )
        return model.get_weights()

    straight = run(3, None)
    run(2, tmp_path / "run")
    for one, other in zip(straight, run(3, tmp_path / "run"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_that_only_fill_a_batch_up_are_left_out(tmp_path):
    inputs, targets, weights = batch()
    weights[:], weights[-1] = 1, 0
    assert cache_logits(ones, [(inputs, targets, weights)], tmp_path / "t") == 3


def test_mistakes_are_told(tmp_path):
    folder = tmp_path / "t"
    with pytest.raises(ValueError, match=r"no teacher.json.*cache_logits writes"):
        cached_batches(folder, 4)
    with pytest.raises(ValueError, match="not one batch"):
        cache_logits(ones, [], folder)
    cache_logits(ones, dataset(1, repeat=False), folder, top_k=2)
    with pytest.raises(ValueError, match="has a split 'train' already"):
        cache_logits(ones, dataset(1, repeat=False), folder)
    with pytest.raises(ValueError, match="rows of another form"):
        cache_logits(ones, dataset(1, repeat=False), folder, "other", top_k=3)
    with pytest.raises(ValueError, match="teacher scores 7 words and the student 50"):
        cached_batches(folder, 4, model=tiny(vocab_size=50))
    with pytest.raises(ValueError, match="no split 'test', only 'train'"):
        cached_batches(folder, 4, "test")
