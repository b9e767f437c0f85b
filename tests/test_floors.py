"""The package is a house: a floor stands on the floors below it, never the reverse."""

import ast
import pathlib
import statistics

import pytest

import keras_switch

FLOORS = (
    {"partitioning"},
    {"routing"},
    {"dispatch"},
    {"layers"},
    {"models"},
    {"convert", "data", "training"},
    {"distillation"},
    {"evaluation", "export", "planning", "serving"},
    {"cli"},
)
ROOT = pathlib.Path(keras_switch.__file__).parent
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
BACKEND_AGNOSTIC = ("routing", "dispatch", "layers", "models")
FILES = sorted(ROOT.glob("*/**/*.py"))
MOST_LINES = 350
MOST_LINES_OF_A_BODY = 50


def name(file):
    return file.relative_to(ROOT).as_posix()


def imported(nodes):
    """Yields the full name of each thing that these statements import."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def tree(file):
    return ast.parse(file.read_text())


@pytest.mark.parametrize("file", FILES, ids=name)
def test_a_module_imports_only_from_its_own_room_and_the_floors_below(file):
    room = file.relative_to(ROOT).parts[0]
    for module in imported(ast.walk(tree(file))):
        package, *rest = module.split(".")
        other = rest[0] if rest else room
        if package == "keras_switch" and other not in (room, "tasks"):
            assert FLOOR_OF[other] < FLOOR_OF[room], module


def test_nothing_imports_a_module_of_tasks():
    # Importing one registers its tasks: that is for a user or a gin file to ask for.
    for file in FILES:
        for module in imported(ast.walk(tree(file))):
            assert not module.startswith("keras_switch.tasks."), name(file)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_below_the_training_floor_no_module_needs_one_backend(file):
    if file.relative_to(ROOT).parts[0] in BACKEND_AGNOSTIC:
        backends = {module.split(".")[0] for module in imported(tree(file).body)}
        assert not backends & {"tensorflow", "jax", "torch"}


def test_only_the_command_line_knows_gin():
    # Its parser alone also reads the files that come with others' checkpoints.
    parsers = ("convert", "gin.config_parser")
    for file in FILES:
        room = file.relative_to(ROOT).parts[0]
        for module in imported(ast.walk(tree(file))):
            if module.split(".")[0] == "gin" and room != "cli":
                assert (room, module) == parsers, name(file)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_new_axes_are_made_with_all_others_spelled_out(file):
    # `x[:, None]` leaves out trailing axes: a DTensor process crashes on that.
    module = tree(file)
    types = {id(n.annotation) for n in ast.walk(module) if isinstance(n, ast.AnnAssign)}
    for node in ast.walk(module):
        if isinstance(node, ast.Subscript) and id(node) not in types:
            assert spelled_out(node.slice), (
                f"{name(file)}:{node.lineno}: {ast.unparse(node)}: write "
                "keras.ops.expand_dims(x, axis), or x[..., None]"
            )


def spelled_out(index):
    """Returns whether an index adds no axis, or starts with `...`, or ends with `:`."""
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    values = [part.value for part in parts if isinstance(part, ast.Constant)]
    if not any(value is None for value in values):
        return True
    first = isinstance(parts[0], ast.Constant) and parts[0].value is Ellipsis
    return first or (Ellipsis not in values and isinstance(parts[-1], ast.Slice))


@pytest.mark.parametrize(
    ("code", "fine"),
    [
        ("x[:, None]", False),
        ("x[None]", False),
        ("x[:, None, None]", False),
        ("x[..., None]", True),
        ("x[:, None, None, :]", True),
        ("x[:, 1:]", True),
        ("x[None, ...]", False),
        ("x[:, None, ...]", False),
        ("x[:, None, ..., :]", False),
        ("x[..., None, :]", True),
    ],
)
def test_the_rule_about_new_axes_tells_good_from_bad(code, fine):
    assert spelled_out(ast.parse(code).body[0].value.slice) is fine


ON_MESHES = ("dispatch", "layers", "models", "routing")


@pytest.mark.parametrize(
    "file", [f for f in FILES if f.relative_to(ROOT).parts[0] in ON_MESHES], ids=name
)
def test_axes_after_an_integer_index_are_spelled_out(file):
    # `x[:, 0]` leaves out trailing axes: of a DTensor split along one of them, wrong.
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
            assert whole_after_integers(node.slice.elts), (
                f"{name(file)}:{node.lineno}: {ast.unparse(node)}: write "
                "keras.ops.unstack(x, axis=axis)[i], or x[..., i]"
            )


def whole_after_integers(parts):
    """Returns whether an index ends with a slice, or starts with `...`."""
    first = isinstance(parts[0], ast.Constant) and parts[0].value is Ellipsis
    last = parts[-1]
    adds = isinstance(last, ast.Constant) and last.value is None
    slices = any(isinstance(part, ast.Slice) for part in parts)
    return first or adds or isinstance(last, ast.Slice) or not slices


@pytest.mark.parametrize(
    ("code", "fine"),
    [
        ("x[:, 0]", False),
        ("x[:, -1]", False),
        ("x[:, i]", False),
        ("x[:, 0, ...]", False),
        ("x[..., 0]", True),
        ("x[:, 1:]", True),
        ("dict[str, int]", True),
    ],
)
def test_the_rule_about_integers_tells_good_from_bad(code, fine):
    assert whole_after_integers(ast.parse(code).body[0].value.slice.elts) is fine


def test_files_are_short(record_testsuite_property):
    lines = {name(file): len(file.read_text().splitlines()) for file in FILES}
    record_testsuite_property(
        "median_lines_of_a_file", statistics.median(lines.values())
    )
    assert {file: n for file, n in lines.items() if n > MOST_LINES} == {}


def test_functions_are_short(record_testsuite_property):
    bodies = {
        f"{name(file)}:{node.lineno}": body_lines(node)
        for file in FILES
        for node in ast.walk(tree(file))
        if isinstance(node, ast.FunctionDef)
    }
    record_testsuite_property(
        "median_lines_of_a_body", statistics.median(bodies.values())
    )
    assert {where: n for where, n in bodies.items() if n > MOST_LINES_OF_A_BODY} == {}


def body_lines(function):
    """Returns the lines of a function's body, its docstring left out."""
    body = function.body[ast.get_docstring(function) is not None :]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0
