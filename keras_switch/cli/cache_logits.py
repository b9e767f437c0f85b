"""`keras-switch cache-logits`."""

from keras_switch import distillation
from keras_switch.cli.teaching import TeacherConfig
from keras_switch.data import DataConfig, batches
from keras_switch.distillation.cache import check_is_free
from keras_switch.models import ModelConfig


def cache_logits(
    teacher: TeacherConfig,
    data: DataConfig,
    folder: str,
    top_k: int | None = 64,
    steps: int | None = None,
    model: ModelConfig | None = None,
):
    """Asks a teacher about the batches of a split once, and keeps what it says.

    `distill` takes the folder for a teacher. It is a SeqIO task
    (`distillation.cached_task`); another split goes into the same folder.

    Args:
        teacher: who is asked, and where it lies.
        data: what it is asked about, packed and cut as the student will read it.
        folder: where to. A split that is there is not written again.
        top_k: words to keep of each target; `None` keeps the logits of all.
        steps: batches to take; `None` takes all: the data must end.
        model: the student, which says how batches look; `None`: as the teacher reads
            them. A SavedModel does not tell.

    Returns:
        The number of rows written.

    Raises:
        ValueError: if the teacher cannot be asked about these batches, they have no
            end, or the split is there.
    """
    if teacher.is_cache:
        raise ValueError(
            f"{teacher.source} holds a teacher's logits already: give it to `distill` "
            "as --teacher."
        )
    if steps is None and data.num_epochs is None:
        raise ValueError(
            "The data repeats for ever: say how many batches to take (CACHE_STEPS), or "
            "how many passes (NUM_EPOCHS)."
        )
    check_is_free(folder, data.split)
    who = teacher.made()
    model = model or _read_by(who, teacher)
    rows = distillation.cache_logits(
        who, batches(data, model), folder, data.split, top_k, steps
    )
    kept = "all logits" if top_k is None else f"the {top_k} greatest logits"
    print(
        f"\n{rows:,} rows of {data.task_name} {data.split}, {kept} of every target, "
        f"written to {folder}\nNow: keras-switch distill --teacher={folder} "
        "--gin.INITIALIZE=None ..."
    )
    return rows


def _read_by(who, teacher):
    """Returns the config of a teacher that is a model."""
    if not hasattr(who, "backbone"):
        raise ValueError(
            f"{teacher.source} is a SavedModel, which does not say how it reads text: "
            "give the student too, by a file of models/."
        )
    return who.backbone.config
