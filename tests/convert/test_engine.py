"""One engine: everything fits or nothing is loaded, and what arrives is checked."""

import weakref

import helpers_checkpoints as checkpoints
import keras
import numpy as np
import pytest
from helpers_memory import on_linux, peak

from keras_switch import convert, layers
from keras_switch.convert import engine, hf_names, hugging_face
from keras_switch.convert.source import Arrays, Tensor
from keras_switch.convert.table import Row, Table
from keras_switch.models import WeightCount


@pytest.fixture(scope="module")
def model():
    return checkpoints.small()


@pytest.fixture(scope="module")
def table(model):
    return hugging_face.names(model.backbone.config)


@pytest.fixture
def tensors(model, table):
    return dict(engine.dump(model.weights, table))


def values(model):
    return [np.array(weight) for weight in model.weights]


def test_every_misfit_stands_in_one_error_and_nothing_is_touched(model, table, tensors):
    del tensors["shared.weight"]
    wi = "encoder.block.1.layer.1.mlp.experts.expert_2.wi.weight"
    tensors["encoder.final_layer_norm.weight"] = np.zeros(7, "float32")
    tensors["encoder.block.9.bias"] = np.zeros(3, "float32")
    tensors[wi] = tensors[wi].astype("int32")
    before = values(model)
    with pytest.raises(convert.ConversionError) as error:
        engine.load(model.weights, Arrays(tensors, "the file"), table)
    text = str(error.value)
    assert text.startswith("the file does not fit this model (Hugging Face):")
    assert "shared.weight: missing, token_embedding/embedding needs it" in text
    assert "encoder.final_layer_norm.weight: of shape (7,), but" in text
    assert "encoder.block.9.bias: left over" in text
    assert f"{wi}: holds int32" in text
    assert text.count("\n- ") == 4
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_another_number_of_experts_is_told_expert_by_expert(table, tensors):
    other = checkpoints.small(sparse=None)
    dense = hf_names.table("mlp", tied=True)
    with pytest.raises(
        convert.ConversionError, match=r"expert_2\.wo\.weight: left over"
    ):
        engine.load(other.weights, Arrays(tensors), dense)


def test_tensors_of_too_few_blocks_or_axes_are_told():
    rows = (Row("{stack}/block_{i}/w", "{stack}/w"),)
    table = Table("test", rows, lambda stack, i: {"layer": i})
    shape, dims = (3, 4), (None, None)
    weights = [WeightCount(f"encoder/block_{i}/w", shape, dims, 0, 0) for i in (1, 2)]
    few = Arrays({"encoder/w": np.zeros((3, 2, 4), "float32")})
    with pytest.raises(convert.ConversionError, match=r"stacks 2 .*block_2/w is num"):
        engine.plan(weights, few, table)
    flat = Arrays({"encoder/w": np.zeros(shape, "float32")})
    with pytest.raises(convert.ConversionError, match=r"needs \(3, None, 4\)"):
        engine.plan(weights, flat, table)


def test_a_weight_without_a_name_there_is_told(model):
    with pytest.raises(convert.ConversionError, match="no name for this weight"):
        engine.load(model.weights, Arrays({}), Table("nothing", ()))
    with pytest.raises(convert.ConversionError, match="cannot be written as nothing"):
        engine.dump(model.weights, Table("nothing", ()))


def test_copies_must_be_copies(model, table, tensors):
    shared = tensors["shared.weight"]
    tensors["lm_head.weight"] = shared.copy()
    engine.load(model.weights, Arrays(tensors), table)
    tensors["lm_head.weight"][-1, -1] += 1
    with pytest.raises(convert.ConversionError, match=r"lm_head\.weight: differs from"):
        engine.load(model.weights, Arrays(tensors), table)


def test_copies_are_compared_to_their_last_row(model, table, tensors, monkeypatch):
    monkeypatch.setattr(engine, "_ROWS", 7 * 16)  # seven rows at a time
    tensors["lm_head.weight"] = tensors["shared.weight"].copy()
    engine.load(model.weights, Arrays(tensors), table)
    tensors["lm_head.weight"][-1, -1] += 1
    with pytest.raises(convert.ConversionError, match=r"lm_head\.weight: differs from"):
        engine.load(model.weights, Arrays(tensors), table)


def test_every_expert_has_a_sum_of_its_own(model, table, tensors):
    report = engine.load(model.weights, Arrays(tensors, "here"), table)
    sums = report.checksums["encoder/block_1/encoder_1/experts/wi"]
    assert len(sums) == len(set(sums)) == 3
    assert report.checksums == convert.checksums(model)
    assert "12 kernels of experts" in str(report) and "from here" in str(report)
    name = "encoder.block.1.layer.1.mlp.experts.expert_1.wi.weight"
    tensors[name] = tensors[name] + 1e-6
    changed = engine.load(model.weights, Arrays(tensors), table).checksums
    other = changed["encoder/block_1/encoder_1/experts/wi"]
    assert [a == b for a, b in zip(sums, other, strict=True)] == [True, False, True]


def test_what_arrives_changed_is_an_error(model, table, tensors, monkeypatch):
    put = engine.put

    def put_twice_as_much(variable, fill):
        def twice(where, array):
            fill(where, array)
            array *= 2

        put(variable, twice)

    monkeypatch.setattr(engine, "put", put_twice_as_much)
    with pytest.raises(convert.ConversionError, match="its sums differ"):
        engine.load(model.weights, Arrays(tensors), table)


def test_bfloat16_is_cast_to_what_the_weight_is_stored_in(model, table, tensors):
    import ml_dtypes

    halves = {name: value.astype(ml_dtypes.bfloat16) for name, value in tensors.items()}
    engine.load(model.weights, Arrays(halves), table)
    wanted = halves["shared.weight"].astype("float32")
    np.testing.assert_array_equal(model.weights[0], wanted)
    assert keras.backend.standardize_dtype(model.weights[0].dtype) == "float32"


def test_progress_counts_every_byte_of_the_model(model, table, tensors):
    seen = []
    engine.load(
        model.weights, Arrays(tensors), table, lambda n, path: seen.append((n, path))
    )
    assert sum(n for n, _ in seen) == 4 * model.count_params()
    assert [path for _, path in seen] == [w.path for w in model.weights]


class Generated(Arrays):
    """Tensors that are made when they are read, and watched."""

    def __init__(self, names, shape):
        self.name, self.alive = "generated", []
        self.tensors = {name: Tensor(shape, "float32") for name in names}

    def read(self, name, where=None):
        value = np.ones(self.tensors[name].shape, "float32")
        self.alive = [ref for ref in self.alive if ref() is not None]
        self.alive.append(weakref.ref(value))
        assert len(self.alive) <= 2
        return value


@on_linux
def test_no_more_than_one_expert_is_there_twice():
    stack = [layers.GatedExperts(8, 768, name=f"layer_{n}") for n in range(2)]
    for layer in stack:
        layer.build((None, None, 768))
    weights = [weight for layer in stack for weight in layer.weights]
    names = [f"{e}/{weight.path}" for e in range(8) for weight in weights]
    rows = tuple(Row(weight.path, f"{{e}}/{weight.path}") for weight in weights)
    source, table = Generated(names, (768, 768)), Table("test", rows)
    size = 8 * 768 * 768 * 4  # of each of the six weights
    assert peak(lambda: engine.load(weights, source, table)) < 0.6 * size
    assert all((np.array(weight) == 1).all() for weight in weights)
