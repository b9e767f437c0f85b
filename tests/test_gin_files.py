"""Every shipped gin file: it parses, its model builds, all that it sets is used."""

import dataclasses

import gin
import pytest

from keras_switch import planning
from keras_switch.cli import gin_calls, gin_checks, gin_files, gin_names
from keras_switch.cli.building import language_model
from keras_switch.data import registry
from keras_switch.models import PRESETS, Every

ROOT = gin_files.config_root()
MODELS = sorted(file.stem for file in (ROOT / "models").glob("*.gin"))
OPTIMIZERS = sorted(file.stem for file in (ROOT / "optimizers").glob("*.gin"))
LAYOUTS = sorted(file.stem for file in (ROOT / "layouts").glob("*.gin"))
TASKS = sorted(file.stem for file in (ROOT / "tasks").glob("*.gin"))
OWN_FILES = ("file", "text_file")
ALL = sorted(file.relative_to(ROOT).as_posix() for file in ROOT.rglob("*.gin"))


@pytest.fixture(autouse=True)
def _gin():
    gin_names.register()
    yield
    gin.clear_config()


def trained(*files, model_dir="'here'", bindings=()):
    """Returns the configuration of `train` with these files, and what it would call."""
    values = [f"MODEL_DIR = {model_dir}", *bindings]
    config = gin_files.read(["runs/train.gin", *files], values)
    gin_checks.check(config, "train", gin_names.names())
    config.bind()
    return config, gin.get_configurable("train")()


def unused(config, command):
    keys = set(config.bindings) - gin_calls.used_bindings(config, command)
    return {config.bindings[key].place for key in keys}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_file_gives_the_preset_of_its_name_and_uses_all_it_sets(name):
    config, call = trained(
        f"models/{name}.gin", "runs/pretrain.gin", "tasks/pydocs_lm.gin"
    )
    assert call.keywords["model"] == PRESETS[name].config
    assert not unused(config, "train")


def test_every_preset_has_a_model_file():
    assert set(MODELS) == set(PRESETS)


def small(config):
    """Returns a config with the parts of another, in two layers of a few units."""
    sizes = {"d_model": 8, "d_ff": 16, "d_kv": 4, "num_heads": 2, "num_layers": 2}
    sparse = config.sparse and dataclasses.replace(
        config.sparse, num_experts=2, placement=Every(2)
    )
    return dataclasses.replace(config, vocab_size=128, sparse=sparse, **sizes)


# Files whose models have the same parts build the same layers: one of each will do.
KINDS = {repr(small(row.config)): name for name, row in PRESETS.items()}


@pytest.mark.parametrize("name", sorted(KINDS.values()))
def test_the_model_of_a_file_builds_at_depth_two(name):
    _, call = trained(f"models/{name}.gin", "runs/pretrain.gin", "tasks/pydocs_lm.gin")
    model = language_model(small(call.keywords["model"]))
    assert model.count_params() > 0
    assert bool(model.losses) is False


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_file_is_taken_in_place_of_the_default(name):
    config, call = trained(
        "models/t5_tiny.gin",
        "runs/pretrain.gin",
        f"optimizers/{name}.gin",
        "tasks/pydocs_lm.gin",
    )
    wanted = "AdamW" if name == "adamw" else "Adafactor"
    assert type(call.keywords["optimizer"]).__name__ == wanted
    places = {place.file for place in unused(config, "train")}
    assert not any(place.endswith(f"{name}.gin") for place in places)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_file_names_a_task_and_gives_lengths_for_its_features(name):
    own = [f"{split}_FILE = 'my.txt'" for split in ("TRAIN", "VALIDATION")]
    config, call = trained(
        "models/t5_tiny.gin",
        "runs/pretrain.gin",
        f"tasks/{name}.gin",
        bindings=own if name in OWN_FILES else (),
    )
    data = call.keywords["data"]
    assert not unused(config, "train")
    features = registry.find(data.task).output_features
    assert set(data.lengths) == set(features)


def test_the_evaluation_uses_all_that_its_file_sets():
    config = gin_files.read(
        ["models/switch_tiny.gin", "tasks/pydocs_lm.gin", "runs/eval.gin"],
        ["MODEL_DIR = 'here'", "BATCH_SIZE = 8", "SEED = 0", "DTYPE = 'float32'"],
    )
    gin_checks.check(config, "evaluate", gin_names.names())
    assert not unused(config, "evaluate")


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_file_fits_its_mesh_and_is_used_by_a_plan(name):
    files = ["runs/plan.gin", "models/switch_tiny.gin", f"layouts/{name}.gin"]
    config = gin_files.read(files)
    gin_checks.check(config, "plan", gin_names.names())
    assert not unused(config, "plan")
    config.bind()
    call = gin.get_configurable("plan")().keywords
    found = planning.plan(
        call["model"], call["mesh_shape"], call["layout_rules"], call["batch_size"]
    )
    assert not found.mistakes
    assert found.devices == (1 if name == "one_device" else 8)


def test_the_demo_compares_models_that_differ_in_nothing_but_experts():
    config = gin_files.read(["runs/demo.gin"])
    gin_checks.check(config, "demo", gin_names.names())
    assert not unused(config, "demo")
    config.bind()
    call = gin.get_configurable("demo")().keywords
    assert call["sparse"] == PRESETS["switch_tiny"].config
    assert call["dense"] == dataclasses.replace(call["sparse"], sparse=None)
    assert call["optimizer"]() is not call["optimizer"]()


@pytest.mark.parametrize("file", ALL)
def test_a_file_begins_by_saying_what_it_is(file):
    lines = (ROOT / file).read_text().splitlines()
    assert lines[0].startswith("# ")
    assert max(map(len, lines)) <= 90


def called(command, *files, **macros):
    """Returns the configuration of a command with these files, and what it calls."""
    values = {"MODEL_DIR": "'here'", **macros}
    config = gin_files.read(files, [f"{k} = {v}" for k, v in values.items()])
    gin_checks.check(config, command, gin_names.names())
    own = f"runs/{command}.gin"
    idle = {p.text.split()[0] for p in unused(config, command) if own in p.file}
    assert idle <= {"MODEL"}  # which `eval` reads
    config.bind()
    return gin.get_configurable(command)().keywords


def test_fine_tuning_is_the_papers_and_lora_goes_on_top():
    files = ["runs/finetune.gin", "tasks/pydocs_lm.gin"]
    call = called("finetune", *files, SOURCE="'there'")
    found = call["adaptation"]
    assert (found.dropout_rate, found.expert_dropout_rate) == (0.1, 0.4)
    assert call["optimizer"].learning_rate == 1e-3
    call = called("finetune", *files, "runs/finetune_lora.gin", SOURCE="'there'")
    assert call["adaptation"].lora.targets == ("query", "value", "experts")
    assert type(call["optimizer"]).__name__ == "AdamW"


ROWS = sorted(file.stem for file in (ROOT / "distillation").glob("table_*.gin"))


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_the_paper_teaches_t5_base_from_a_switch_base(name):
    files = ["runs/distill.gin", f"distillation/{name}.gin", "tasks/pydocs_lm.gin"]
    macros = {} if "7" in name or "8" in name else {"TEACHER": "'there'"}
    call = called("distill", *files, **macros)
    base = dataclasses.replace(PRESETS["t5_base"].config, dropout_rate=0.1)
    student, soft = call["student"], call["teacher"].soft_targets
    assert dataclasses.replace(student.model, dropout_rate=0.1) == base
    first = student.initialize
    assert soft.weight == (
        1.0 if name in ("table_6_soft", "table_6_initialized") else 0.25
    )
    assert (first is None) == (name in ("table_6_soft", "table_8"))
    never = soft.start_step >= call["run"].steps
    assert never == (name == "table_6_initialized_only")
    experts = name.rpartition("_")[2]
    if name.startswith("table_7"):
        assert call["teacher"].source.endswith(experts)
        assert f"switch_base_{experts}" in PRESETS


def test_a_teacher_is_asked_about_any_task_file():
    files = ["runs/cache_logits.gin", "tasks/sst2.gin", "layouts/data_8.gin"]
    call = called("cache_logits", *files, TEACHER="'there'", CACHE="'here'")
    assert (call["data"].task, call["folder"]) == ("sst2", "here")
    assert call["teacher"].placement.mesh_shape == "data:8"


def test_nothing_in_the_folder_hides_gin_config():
    assert not [*ROOT.rglob("__init__.py")]
    assert hasattr(gin, "external_configurable")


def test_a_cache_is_made_of_any_task_file():
    config = gin_files.read(
        ["runs/cache.gin", "tasks/sst2.gin"], ["CACHE = 'cache'", "SPLITS = ('train',)"]
    )
    gin_checks.check(config, "cache", gin_names.names())
    places = {place.file for place in unused(config, "cache")}
    assert not any(place.endswith("cache.gin") for place in places)
    config.bind()
    call = gin.get_configurable("cache")().keywords
    assert (call["data"].task, call["folder"]) == ("sst2", "cache")
