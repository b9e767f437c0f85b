"""`keras-switch cache`."""

from collections.abc import Sequence

from keras_switch.cli.table import table
from keras_switch.data import DataConfig, caching, registry


def cache(
    data: DataConfig,
    folder: str,
    splits: Sequence[str] = (),
    num_shards: int = caching.MOST_SHARDS,
):
    """Prepares the examples of a task or mixture once; prints how many there are.

    Runs read them with `DataConfig.cache` (CACHE in gin files), and so does SeqIO.

    Args:
        data: its task, vocabulary and seed; the rest does not matter here.
        folder: of caches. A split that is there is not written again.
        splits: names; empty for all.
        num_shards: files of a split, at most 16; as many processes can share it.

    Returns:
        Examples by task and split.

    Raises:
        ValueError: if a task cannot be cached or has no example.
    """
    task = registry.find(data.task, data.vocabulary)
    counts = caching.write(task, folder, splits, num_shards, data.seed)
    rows = [
        (f"{name} {split}", f"{count:,}")
        for name, found in counts.items()
        for split, count in found.items()
    ]
    print(f"\n{table(rows)}\nwritten to {folder}")
    return counts
