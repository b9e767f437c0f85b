"""`compile`, `fit`, `evaluate`, `predict` on a mesh, by public overrides of Keras."""

import contextlib

import keras

from keras_switch.partitioning import scope


class MeshTrainer:
    """Mixin before `keras.Model`: trains on the mesh on which the model was made.

    Without a mesh, and under another backend than TensorFlow, it changes nothing.

    On a mesh, a batch is split over the axis of `batch`; one that cannot be split
    evenly, such as the last of an epoch, is computed whole on every device, which gives
    exactly the same. On several processes each feeds its own rows. Optimizers and
    metrics made outside the mesh are moved onto it by `compile`.

    Example:
    ```python
    class Classifier(MeshTrainer, keras.Model):
        ...

    with ks.Mesh("data:8", "batch:data"):
        model = Classifier()
        model.compile("adam", "mse")
    model.fit(x, y)
    ```
    """

    def __new__(cls, *args, **kwargs):
        model = super().__new__(cls, *args, **kwargs)
        object.__setattr__(model, "_mesh", scope.entered())
        return model

    @property
    def mesh(self):
        """The `Mesh` that was entered when the model was made, or `None`."""
        return getattr(self, "_mesh", None)

    def compile(self, *args, **kwargs):
        if self.mesh is None:
            return super().compile(*args, **kwargs)
        from keras_switch.partitioning import steps

        steps.check_compile(self, kwargs)
        kwargs["jit_compile"] = False
        with self._on_mesh():
            super().compile(*args, **kwargs)
        steps.adopt_compiled(self)

    def compile_from_config(self, config):
        # Keras leaves models with a `compile` of their own uncompiled.
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            with self._on_mesh():
                self.optimizer.build(self.trainable_variables)

    def fit(self, *args, **kwargs):
        if self.mesh is None:
            return super().fit(*args, **kwargs)
        from keras_switch.partitioning import steps

        args, kwargs = steps.fit_arguments(self, super().fit, args, kwargs)
        with self._working():
            return super().fit(*args, **kwargs)

    def evaluate(self, *args, **kwargs):
        args, kwargs = self._quiet(super().evaluate, args, kwargs)
        with self._working():
            return super().evaluate(*args, **kwargs)

    def predict(self, *args, **kwargs):
        args, kwargs = self._quiet(super().predict, args, kwargs)
        with self._working():
            return super().predict(*args, **kwargs)

    def train_on_batch(self, *args, **kwargs):
        with self._working():
            return super().train_on_batch(*args, **kwargs)

    def test_on_batch(self, *args, **kwargs):
        with self._working():
            return super().test_on_batch(*args, **kwargs)

    def predict_on_batch(self, *args, **kwargs):
        with self._working():
            return super().predict_on_batch(*args, **kwargs)

    def export(self, *args, **kwargs):
        if self.mesh is None:
            return super().export(*args, **kwargs)
        return self.off_mesh().export(*args, **kwargs)

    def off_mesh(self):
        """Returns a copy of the model on one device, with the weights of now.

        It generates, is exported, and runs eagerly like any other; it is not compiled.
        On several processes every one must call this.

        Raises:
            ValueError: if Keras cannot make the model from its config.
        """
        with scope.set_to(entered=None, running=None):
            copy = type(self).from_config(self.get_config())
            if len(copy.weights) != len(self.weights):
                raise ValueError(
                    f"{self.name!r} cannot be copied off its mesh: made from its "
                    f"config it has {len(copy.weights)} weights, not "
                    f"{len(self.weights)}. Save its weights instead (save_weights) "
                    "and load them into a model made without a mesh."
                )
            copy.set_weights(self.get_weights())
        return copy

    def make_train_function(self, force=False):
        if self.mesh is None:
            return super().make_train_function(force)
        from keras_switch.partitioning import steps

        if self.train_function is None or force:
            self.train_function = steps.on_iterator(self, self.train_step)
        return self.train_function

    def make_test_function(self, force=False):
        if self.mesh is None:
            return super().make_test_function(force)
        from keras_switch.partitioning import steps

        if self.test_function is None or force:
            self.test_function = steps.on_iterator(self, self.test_step)
        return self.test_function

    def make_predict_function(self, force=False):
        if self.mesh is None:
            return super().make_predict_function(force)
        from keras_switch.partitioning import steps

        if self.predict_function is None or force:
            self.predict_function = steps.on_batches(self, self.predict_step)
        return self.predict_function

    def get_metrics_result(self):
        if self.mesh is None or scope.running() or scope.exporting():
            return super().get_metrics_result()
        from keras_switch.partitioning import steps

        # On the host: single operations on a mesh are slow, and not all work.
        with steps.on_host(self.metrics):
            return super().get_metrics_result()

    def _on_mesh(self):
        if self.mesh is None or scope.entered() is self.mesh:
            return contextlib.nullcontext()
        from keras_switch.partitioning.variables import created_on

        return created_on(self.mesh)

    @contextlib.contextmanager
    def _working(self):
        """Makes variables on the mesh, and tells of other processes that end."""
        if self.mesh is None:
            yield
            return
        with self._on_mesh(), self.mesh.clients.watched():
            yield

    def _quiet(self, method, args, kwargs):
        if self.mesh is None:
            return args, kwargs
        from keras_switch.partitioning import together

        return together.quiet(self, method, args, kwargs)
