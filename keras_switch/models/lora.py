"""LoRA for whole models: which kernels get it, and what is trained then."""

from keras_switch.layers.lora import MARK, LoraLayer
from keras_switch.models.parts import Part, part
from keras_switch.models.paths import checked, matches, matching


@part
class Lora(Part):
    """Updates of low rank beside kernels of attention, MLPs and experts.

    Everything else in the model is frozen (arXiv:2106.09685).

    Args:
        rank: columns of A and rows of B; of experts, of each one.
        alpha: updates are scaled by `alpha / rank`; `None`: by 1.
        targets: parts of the paths of kernels: `("query", "value")`, `("experts",)`,
            `("decoder/block_0/mixer",)`; see `models.paths`.

    Raises:
        ValueError: if the rank is no whole number above 0, or there are no targets.
    """

    rank: int = 8
    alpha: float | None = None
    targets: tuple[str, ...] = ("query", "value")

    def __post_init__(self):
        object.__setattr__(self, "targets", checked("Lora.targets", self.targets))
        if not (isinstance(self.rank, int) and self.rank > 0):
            raise ValueError(
                f"Lora.rank={self.rank!r}: give a whole number above 0, such as 8."
            )


def add(layer, lora: Lora, where: str | None = None):
    """Adds LoRA to a built layer or model, and freezes the rest of it.

    Args:
        layer: layer or model.
        lora: what to add.
        where: path of the layer in its model, if it stands outside one; the other parts
            of the model are then somebody else's concern, and so are targets that match
            nothing here.

    Raises:
        ValueError: if a target matches no kernel of the model.
    """
    kernels = [*_kernels(layer, where)]
    if where is None:
        matching([path for *_, path in kernels], lora.targets, "Lora.targets")
    wanted = {}
    for owner, name, path in kernels:
        if any(matches(path, target) for target in lora.targets):
            wanted.setdefault(id(owner), (owner, []))[1].append(name)
    for owner, names in wanted.values():
        owner.enable_lora(lora.rank, lora.alpha, tuple(names))
    for variable in variables_of(layer):
        variable.trainable = MARK in variable.name


def merge(model):
    """Merges all LoRA in a model into its kernels; all weights can be trained again."""
    for layer in _lora_layers(model):
        layer.merge_lora()
    for variable in variables_of(model):
        variable.trainable = True


def variables_of(model) -> list:
    """Returns the variables that were made to be trained, frozen or not, each once."""
    found = {}
    for layer in model._flatten_layers():
        found |= {id(v): v for v in layer._trainable_variables}
    return list(found.values())


def _lora_layers(model):
    return [x for x in model._flatten_layers() if isinstance(x, LoraLayer)]


def _kernels(layer, where):
    """Yields owner, name and path in the model of each kernel that can have LoRA."""
    for owner in _lora_layers(layer):
        for name in owner.lora_names:
            path = owner.lora_kernel(name).path
            if where is not None:
                path = f"{where}/{path.removeprefix(f'{layer.path}/')}"
            yield owner, name, path
