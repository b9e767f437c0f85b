"""SeqIO tasks and mixtures to Keras batches. Axes: B batch, L length."""

import dataclasses

from keras_switch.data import environment, examples, mixing, registry, vocabularies
from keras_switch.data.caching import use_cache
from keras_switch.data.config import DataConfig
from keras_switch.data.features import form_of


def batches(config: DataConfig, model, *, num_shards: int = 1, shard: int = 0):
    """Returns a `tf.data.Dataset` of Keras triples `(inputs, targets, weights)`.

    The triples fit `model.fit`; `features.py` lists the inputs, `(B, L)` int32. Targets
    are `(B, L)` int32, weights `(B, L)` float32, zero on padding. Every batch has the
    same shape. The order depends on the config alone, so two models given equal configs
    see the same batches, and so does a model that several clients train.

    An iterator of the dataset goes into `tf.train.Checkpoint` and comes back exactly
    where it was, in another process too. Iterating twice over one dataset gives two
    orders: make the dataset anew to compare or to restore.

    Args:
        config: what to read.
        model: `ModelConfig`, or the name of an architecture; a config is also checked
            for having room for the vocabulary.
        num_shards: clients that share every batch; each takes `batch_size / num_shards`
            rows of it.
        shard: number of this client.

    Raises:
        ValueError: if task, split, lengths, vocabulary, shards and model do not go
            together, or if there is no example; before any step.
    """
    task = registry.find(config.task, config.vocabulary)
    form = form_of(model, task)
    if config.cache is not None:
        use_cache(task, config.cache, config.split)
    _check(config, task, form, model)
    _check_shards(config, num_shards, shard)
    pipeline = _Pipeline(config, task, form, num_shards, shard)
    pipeline.check_not_empty()
    examples.check(task, config, form)
    return pipeline.endless() if config.num_epochs is None else pipeline.finite()


@dataclasses.dataclass(frozen=True)
class _Pipeline:
    """The two ways to cut examples into batches.

    Whatever the number of clients, their rows together are the batch of one client.
    """

    config: DataConfig
    task: object
    form: object
    num_shards: int
    shard: int

    def endless(self):
        """Each reader gives its rows of every batch: of its own part of the examples.

        A client reads with one reader or several, or shares one with other clients.
        """
        first, last = self._readers()
        read = [self._read_by(number) for number in range(first, last)]
        if self.num_shards > self.config.readers:
            sharing = self.num_shards // self.config.readers
            batches = self._cut(read[0], self.shard % sharing)
        else:
            batches = _datasets().zip(tuple(read)).map(_joined)
        return _options(batches.map(self.form.triple).prefetch(2))

    def finite(self):
        """Every client cuts its rows out of the same batches: all end at once."""
        size = self.config.batch_size
        batches = self._rows(None).batch(size)
        batches = self._cut(batches.map(lambda x: _filled_up(x, size)), self.shard)
        return _options(batches.map(self.form.triple).prefetch(2))

    def check_not_empty(self):
        """Looks for a first example, in one unshuffled pass."""
        examples = self.task.get_dataset(
            self._lengths,
            split=self.config.split,
            shuffle=False,
            seed=self.config.seed,
            num_epochs=1,
            use_cached=self.config.cache is not None,
        )
        for _ in examples.take(1):
            return
        raise ValueError(
            f"Split {self.config.split!r} of task {self.config.task_name!r} gives no "
            f"example at lengths {self._lengths}. Look whether its files "
            "are empty, or whether a preprocessor drops everything."
        )

    def _readers(self):
        """Returns the first reader of this client, and the one after the last."""
        readers, clients = self.config.readers, self.num_shards
        if readers < clients:
            first = self.shard // (clients // readers)
            return first, first + 1
        each = readers // clients
        return self.shard * each, (self.shard + 1) * each

    def _read_by(self, number):
        """Returns one reader's rows of every batch."""
        readers, shard_info = self.config.readers, None
        if readers > 1:
            shard_info = environment.load("seqio").ShardInfo(number, readers)
        size = self.config.batch_size // readers
        return self._rows(shard_info).batch(size, drop_remainder=True)

    def _cut(self, batches, part):
        """Returns one part of each batch: as many rows as every client feeds."""
        local = self.config.batch_size // self.num_shards
        mine = slice(part * local, (part + 1) * local)
        return batches.map(lambda x: {key: value[mine] for key, value in x.items()})

    @property
    def _lengths(self):
        return {name: self.config.lengths[name] for name in self.form.features}

    def _rows(self, shard_info):
        config, seqio = self.config, environment.load("seqio")
        with environment.quiet():
            return seqio.get_dataset(
                self.task,
                self._lengths,
                self.form.converter(config.pack),
                dataset_split=config.split,
                use_cached=config.cache is not None,
                shuffle=config.shuffle,
                num_epochs=config.num_epochs,
                shard_info=shard_info,
                seed=config.seed,
                verbose=False,
            )


def padding_share(batches, num_batches: int) -> dict[str, float]:
    """Returns the share of padding in each padding mask, over some batches.

    Args:
        batches: dataset of Keras triples.
        num_batches: how many to look at.
    """
    import numpy as np

    rows = {}
    for inputs, _, _ in batches.take(num_batches).as_numpy_iterator():
        for name, mask in inputs.items():
            if name.endswith("padding_mask"):
                rows.setdefault(name, []).append(np.mean(mask == 0))
    return {name: float(np.mean(shares)) for name, shares in rows.items()}


def _datasets():
    """Returns the class of data sets, TensorFlow being imported when first used."""
    import tensorflow as tf

    return tf.data.Dataset


def _joined(*parts):
    """Returns the rows of several readers as one batch."""
    import tensorflow as tf

    return {key: tf.concat([part[key] for part in parts], 0) for key in parts[0]}


def _filled_up(features, size):
    return {key: _filled(x, size) for key, x in features.items()}


def _filled(x, size):
    """Fills a last batch up with rows of zeros."""
    import tensorflow as tf

    missing = size - tf.shape(x)[0]
    x = tf.pad(x, [[0, missing]] + [[0, 0]] * (x.shape.rank - 1))
    return tf.ensure_shape(x, [size, *x.shape[1:]])


def _options(dataset):
    import tensorflow as tf

    options = tf.data.Options()
    options.deterministic = True
    return dataset.with_options(options)


def _check(config, task, form, model):
    if config.pack and not getattr(model, "packable", True):
        raise ValueError(
            f"DataConfig of task {config.task_name!r} packs several examples in a row, "
            f"and mixer={model.mixer} would mix them with each other. Set "
            "DataConfig.pack=False, or ModelConfig.mixer=SelfAttention()."
        )
    missing = [name for name in form.features if name not in config.lengths]
    if missing:
        raise ValueError(
            f"DataConfig of task {config.task_name!r} has lengths for "
            f"{sorted(config.lengths)}, but none for {missing}, which the task gives "
            f"and the model reads. Set lengths={{{_example(form)}}}."
        )
    splits = registry.splits_of(task)
    if config.split not in splits:
        raise ValueError(
            f"Task {config.task_name!r} has no split {config.split!r}. Its splits are "
            f"{', '.join(map(repr, splits))}."
        )
    mixing.check_rates(task, config.split)
    mixing.check_alike(task.name, registry.subtasks(task))
    vocab_size = getattr(model, "vocab_size", None)
    if vocab_size is not None:
        for name in form.features:
            vocabulary = task.output_features[name].vocabulary
            vocabularies.check_fits(vocabulary, vocab_size, config.task_name)


def _example(form):
    return ", ".join(f"{name!r}: 128" for name in form.features)


def _check_shards(config, num_shards, shard):
    readers = config.readers
    if readers % num_shards and num_shards % readers:
        raise ValueError(
            f"The {readers} readers of DataConfig of task {config.task_name!r} cannot "
            f"be shared by {num_shards} clients: set readers to 1, or to a multiple of "
            f"{num_shards}."
        )
    if config.batch_size % num_shards:
        raise ValueError(
            f"A batch of {config.batch_size} rows cannot be shared by {num_shards} "
            f"clients. Set batch_size to a multiple of {num_shards}."
        )
    if not 0 <= shard < num_shards:
        raise ValueError(
            f"There is no shard {shard} of {num_shards}: count from 0 to "
            f"{num_shards - 1}."
        )
