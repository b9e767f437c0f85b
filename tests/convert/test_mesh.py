"""Checkpoints straight onto a mesh: every device gets its part and reads no more."""

import pathlib

from helpers_partitioning import on_devices

GOLDEN = pathlib.Path(__file__).parents[1] / "goldens" / "hf" / "switch_tied"
RULES = "batch:data,experts:data,d_ff:model,heads:model,vocab:model"


@on_devices
def test_each_device_reads_its_shard_and_the_model_is_the_same():
    import keras_switch as ks
    from keras_switch.convert import checksums, safetensors_files

    read, seen = safetensors_files.SafetensorsFiles.read, []

    def watched(self, name, where=None):
        value = read(self, name, where)
        seen.append((name, value.shape))
        return value

    alone = ks.models.SwitchSeq2SeqLM.from_preset(GOLDEN)
    safetensors_files.SafetensorsFiles.read = watched
    try:
        with ks.Mesh("data:4,model:2", RULES):
            model = ks.models.SwitchSeq2SeqLM.from_preset(GOLDEN)
    finally:
        safetensors_files.SafetensorsFiles.read = read
    assert checksums(model) == checksums(alone)
    # Every kernel of an expert is read in two halves, by the devices that hold it.
    experts = [shape for name, shape in seen if "expert_2.wi.weight" in name]
    assert experts == [(32, 32)] * 8  # (d_ff / 2, d_model), two parts of four layers
    table = [shape for name, shape in seen if name == "shared.weight"]
    assert table == [(64, 32), (64, 32)]
    parts = model.backbone.encoder.blocks[1].mlp.experts.wi.value
    assert parts.layout.sharding_specs[0] == "data"


@on_devices
def test_one_mesh_reads_what_another_wrote():
    import tempfile

    import keras_switch as ks
    from keras_switch.convert import checksums, hugging_face

    with ks.Mesh("data:4,model:2", RULES):
        first = ks.models.SwitchSeq2SeqLM.from_preset(GOLDEN)
    with tempfile.TemporaryDirectory() as folder:
        hugging_face.write(first, folder)
        with ks.Mesh("data:2,model:4", "vocab:model,experts:data"):
            second = ks.models.SwitchSeq2SeqLM.from_preset(folder)
    assert checksums(second) == checksums(first)
    one, two = (m.weights[0].value.layout.sharding_specs for m in (first, second))
    assert one == two == ["model", "unsharded"]
    assert checksums(second) == checksums(ks.models.SwitchSeq2SeqLM.from_preset(GOLDEN))
