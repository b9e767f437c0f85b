"""Data sets of the TensorFlow Datasets catalogue, with errors that say what to do."""

import numpy as np

from keras_switch.data import environment

seqio = environment.load("seqio")
tfds = environment.load("tensorflow_datasets")


class CatalogueSource(seqio.TfdsDataSource):
    """A data set that is prepared on this machine, or downloaded when first used.

    It lies in the folder that `$TFDS_DATA_DIR` names, `~/tensorflow_datasets` if that
    is not set.

    Args:
        name: name, config and version, such as `"glue/cola:1.0.0"`.
        splits: names of its splits, or a dictionary from names here to splits there.
        by_hand: why the data set is not downloaded by itself, if it is not: what to do
            first.
    """

    def __init__(self, name: str, splits, by_hand: str | None = None):
        super().__init__(name, splits=splits)
        self.by_hand = by_hand

    def get_dataset(self, split=None, *arguments, **keywords):
        self._prepare()
        return super().get_dataset(split, *arguments, **keywords)

    def num_input_examples(self, split: str):
        self._prepare()
        size = super().num_input_examples(split)
        return None if size == np.inf else size

    def list_shards(self, split: str):
        self._prepare()
        return super().list_shards(split)

    def _prepare(self):
        """Downloads the data set if it is not there.

        Raises:
            FileNotFoundError: if it cannot be; says the command and the folder.
        """
        builder = self.tfds_dataset.builder
        if builder.info.splits:
            return
        if self.by_hand is not None:
            raise FileNotFoundError(self._missing(builder, self.by_hand))
        try:
            builder.download_and_prepare()
        except Exception as error:  # whatever a download may meet
            reason = f"downloading it failed ({type(error).__name__}: {error})."
            raise FileNotFoundError(self._missing(builder, reason)) from error

    def _missing(self, builder, reason):
        name, _, version = self.tfds_dataset.name.partition(":")
        return (
            f"The data set {name}, version {version}, is not in "
            f"{builder.data_dir}: {reason} Prepare it, here or on a machine with a "
            f"network, with\n"
            f"    tfds build {name}:{version} --data_dir=<folder>\n"
            "and set the environment variable TFDS_DATA_DIR to that folder."
        )
