"""Files of TensorFlow Datasets with a few examples, in a data set's own schema."""

import tensorflow_datasets as tfds


def write(name, folder, splits):
    """Writes files that `name` would have after a download, with other examples.

    Args:
        name: such as `"glue/cola:1.0.0"`.
        folder: of data sets.
        splits: by name, lists of examples.
    """
    tfds.disable_progress_bar()
    builder = tfds.builder(name, data_dir=str(folder), try_gcs=False)
    config = builder.builder_config
    tfds.dataset_builders.store_as_tfds_dataset(
        name=builder.name,
        version=str(builder.version),
        config=config and config.name,
        features=builder.info.features,
        split_datasets={s: [*enumerate(rows)] for s, rows in splits.items()},
        data_dir=str(folder),
        disable_shuffling=True,
    )
