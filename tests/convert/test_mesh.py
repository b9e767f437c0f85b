"""Checkpoints straight onto a mesh: every device gets its part and reads no more."""

import functools
import tempfile

from helpers_partitioning import on_devices

RULES = "batch:data,experts:data,d_ff:model,heads:model,vocab:model"


@functools.cache
def read():
    """Returns a model on a mesh, what was read for it, and its true sums."""
    import helpers_checkpoints as checkpoints

    import keras_switch as ks
    from keras_switch.convert import checksums, hugging_face, safetensors_files

    alone = checkpoints.small(num_experts=4)
    kind, seen = safetensors_files.SafetensorsFiles, []
    read_file = kind.read

    def watched(self, name, where=None):
        value = read_file(self, name, where)
        seen.append((name, value.shape))
        return value

    kind.read = watched
    try:
        with tempfile.TemporaryDirectory() as folder:
            hugging_face.write(alone, folder)
            with ks.Mesh("data:4,model:2", RULES):
                model = ks.models.SwitchSeq2SeqLM.from_preset(folder)
    finally:
        kind.read = read_file
    return model, seen, checksums(alone)


@on_devices
def test_each_device_reads_its_shard_and_the_model_is_the_same():
    from keras_switch.convert import checksums

    model, seen, wanted = read()
    assert checksums(model) == wanted
    # Every kernel of an expert is read in two halves, by the devices that hold it.
    experts = [shape for name, shape in seen if "expert_2.wi.weight" in name]
    assert experts == [(12, 16)] * 4  # (d_ff / 2, d_model), two parts of two layers
    table = [shape for name, shape in seen if name == "shared.weight"]
    assert table == [(24, 16), (24, 16)]
    parts = model.backbone.encoder.blocks[1].mlp.experts.wi.value
    assert parts.layout.sharding_specs[0] == "data"


@on_devices
def test_one_mesh_reads_what_another_wrote():
    import keras_switch as ks
    from keras_switch.convert import checksums, hugging_face

    first, _, wanted = read()
    with tempfile.TemporaryDirectory() as folder:
        hugging_face.write(first, folder)
        with ks.Mesh("data:2,model:4", "vocab:model,experts:data"):
            second = ks.models.SwitchSeq2SeqLM.from_preset(folder)
    assert checksums(second) == wanted
    one, two = (m.weights[0].value.layout.sharding_specs for m in (first, second))
    assert one == two == ["model", "unsharded"]
