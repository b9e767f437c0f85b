"""Feed-forward layer in which each token visits a few of many experts.

Axes: B batch, L length, G routing groups, S tokens in a group, E experts, K choices of
a token, D model width, F hidden width of an expert.
"""

import keras
from keras import ops

from keras_switch.dispatch import BySequence, GatherDispatch
from keras_switch.layers.base import Layer
from keras_switch.layers.expert_metrics import ExpertMetrics
from keras_switch.layers.experts import Experts, check_positive
from keras_switch.layers.router import Router
from keras_switch.partitioning import constrain
from keras_switch.routing import Switch
from keras_switch.routing import metrics as routing_metrics


@keras.saving.register_keras_serializable("keras_switch")
class SwitchFeedForward(Layer):
    """Sends each token to the experts its router picks and adds up their answers.

    The Switch layer (arXiv:2101.03961, section 2). A token that finds no room leaves as
    zeros; the residual connection around this layer carries it on. The policy's losses
    are added in training by `add_loss`: `fit` picks them up by itself, a loop of your
    own must add `model.losses`. Metrics appear in the progress bar and the history as
    `<name>_dropped`, `<name>_confidence` and `<name>_max_load`; `expert_load` is the
    share of every expert.

    Args:
        num_experts: E.
        d_ff: F, hidden units of one expert.
        activation: nonlinearity inside an expert; see `activations.get`.
        routing: policy that assigns tokens to experts. `None`: `Switch()`, with its
            input jitter of 1e-2.
        dispatch: how tokens travel: `EinsumDispatch()`, `DroplessDispatch()`; `None`:
            `GatherDispatch()`.
        groups: tokens that compete for the same rows: `FixedGroups(size)`, ...; `None`:
            `BySequence()`.
        expert_dropout_rate: dropout inside the experts, in training.
        init_scale: scale of the initializer of router and experts.
        experts: layer of your own in place of `Experts`, called as
            `experts(rows (N, R, D), owner=(N,) or None, training=...)`.
        router: layer of your own in place of `Router`, called on `(G, S, D)` float32
            for `(G, S, E)` logits.
        eval_dispatch: how tokens travel out of training, `DroplessDispatch()` to drop
            none then; `None`: as in training.

    Call arguments:
        inputs: `(B, L, D)` or `(B, D)` floating point. The latter is taken as B
            sequences of one token.
        mask: `(B, L)` or `(B,)` bool, true for real tokens. Padding takes no token's
            place and counts in no loss.
        token_ids: integers of the mask's shape, for policies that route by them.
        training: whether to explore, to drop, and to add losses.

    Returns:
        The shape of `inputs`, in the compute dtype.

    Raises:
        ValueError: if a size is not positive, the inputs have another rank, the mask
            another shape, the length is not known where `groups` needs it, or the
            policy needs token ids and got none.
    """

    def __init__(
        self,
        num_experts,
        d_ff,
        activation="relu",
        routing=None,
        dispatch=None,
        groups=None,
        expert_dropout_rate=0.0,
        init_scale=0.1,
        experts=None,
        router=None,
        eval_dispatch=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive(self, num_experts=num_experts, d_ff=d_ff)
        self.num_experts = num_experts
        self.d_ff = d_ff
        self.activation = activation
        self.routing = routing or Switch()
        self.dispatch = dispatch or GatherDispatch()
        self.groups = groups or BySequence()
        self.expert_dropout_rate = expert_dropout_rate
        self.init_scale = init_scale
        self.eval_dispatch = eval_dispatch
        self.experts = experts or Experts(
            num_experts,
            d_ff,
            activation,
            expert_dropout_rate,
            init_scale=init_scale,
            dtype=self.dtype_policy,
            name="experts",
        )
        self.router = router or self._own_router()
        self.seed_generator = keras.random.SeedGenerator()
        self.expert_metrics = ExpertMetrics(num_experts, self.name)
        self.counting = True  # whether calls count in the metrics

    def build(self, input_shape):
        self._check_rank(input_shape)
        rows = (None, None, input_shape[-1])
        for layer in (self.experts, self.router):
            if layer is not None and not layer.built:
                layer.build(rows)

    def call(self, inputs, mask=None, token_ids=None, training=False):
        self._check_rank(inputs.shape)
        self._check_per_token("mask", mask, inputs)
        self._check_per_token("token_ids", token_ids, inputs)
        tokens = _with_length(inputs, inputs)
        mask = _with_length(_as_real(mask), inputs)
        dispatch = self.dispatch
        if self.eval_dispatch is not None and not training:
            dispatch = self.eval_dispatch
        if dispatch.drops:
            self.groups.check(tokens.shape)
        x, mask = map(_of_groups, self.groups.split(tokens, mask))

        ids = _with_length(token_ids, inputs)
        assignment = self._assign(x, mask, ids, dispatch.drops, training)
        route = dispatch.route(assignment)
        rows = route.dispatch(x)  # (N, R, D)
        rows = route.run(self.experts, rows, training)
        y = self.groups.join(route.combine(rows), like=tokens)
        return ops.reshape(y, ops.shape(inputs))

    def compute_output_spec(self, inputs, mask=None, token_ids=None, training=False):
        self._check_rank(inputs.shape)
        self._check_per_token("mask", mask, inputs)
        self.groups.check(inputs.shape)
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)

    @property
    def causal(self):
        """Whether the layer may stand in a causal decoder."""
        return self.routing.causal

    @property
    def uses_token_ids(self):
        """Whether the layer must be called with `token_ids`."""
        return self.routing.uses_token_ids

    @property
    def wants_zero_padding(self):
        """Whether padding should come in as zeros, as in the originals' blocks.

        With the arithmetic of an original, padding enters its losses.
        """
        return self.routing.padding != "masked"

    @property
    def expert_load(self):
        """`(E,)` float32, share of the choices that asked for each expert.

        Averaged over the batches since the metrics were last reset: with `fit`, over
        the epoch.
        """
        return self.expert_metrics.load

    def _own_router(self):
        if not self.routing.uses_router:
            return None
        return Router(
            self.num_experts,
            init_scale=self.init_scale,
            dtype=self.dtype_policy,
            name="router",
        )

    def _assign(self, x, mask, token_ids, drops, training):
        """Routes tokens `x (G, S, D)`, adds the losses and updates the metrics."""
        policy, size = self.routing, x.shape[1]
        capacity = policy.rows(size, self.num_experts, training) if drops else None
        assignment = policy.assign(
            self._logits(x, training),
            mask,
            capacity=capacity,
            training=training,
            seed=self.seed_generator,
            token_ids=self._grouped_ids(token_ids),
        )
        if training:
            losses = policy.losses(assignment, training).values()
            if losses:
                self.add_loss(sum(losses))
        if self.counting:
            self.expert_metrics.update_state(routing_metrics(assignment))
        return assignment

    def _logits(self, x, training):
        """Returns the router's logits, `(G, S, E)` float32; the experts see `x`."""
        if self.router is None:
            shape = ops.shape(x)[:2]
            return ops.zeros((*shape, self.num_experts), "float32")
        seen = self.routing.perturb(x, training=training, seed=self.seed_generator)
        return self.router(seen)

    def _grouped_ids(self, token_ids):
        if not self.routing.uses_token_ids:
            return None
        if token_ids is None:
            raise ValueError(
                f"{self.name!r} routes with {type(self.routing).__name__}, which needs "
                "token_ids: call the layer with token_ids=(B, L) integers."
            )
        ids, _ = self.groups.split(token_ids[..., None])
        return ops.squeeze(_of_groups(ids), axis=-1)

    def _check_rank(self, shape):
        if len(shape) not in (2, 3) or shape[-1] is None:
            raise ValueError(
                f"{self.name!r} got inputs of shape {tuple(shape)}: it needs "
                "(batch, length, d_model) or (batch, d_model), d_model known. Reshape "
                "the inputs."
            )

    def _check_per_token(self, name, value, inputs):
        if value is None:
            return
        given, needed = tuple(value.shape), tuple(inputs.shape[:-1])
        same = len(given) == len(needed) and all(
            a is None or b is None or a == b for a, b in zip(given, needed, strict=True)
        )
        if not same:
            raise ValueError(
                f"{self.name!r} got a {name} of shape {given} for inputs of shape "
                f"{tuple(inputs.shape)}: it needs one entry per token, {needed}."
            )


def _of_groups(value):
    """Returns `(G, S)` or `(G, S, D)` with whole groups on each device of a mesh.

    A reshape would leave the tokens of one large group on several devices.
    """
    if value is None:
        return None
    return constrain(value, *("batch", None, "d_model")[: len(value.shape)])


def _with_length(value, inputs):
    """Returns `value` of rank-2 `inputs` with an axis of length 1 after the batch."""
    if value is None or len(inputs.shape) == 3:
        return value
    return ops.expand_dims(value, 1)


def _as_real(mask):
    """Returns `mask` with integers (0 is padding) as bool."""
    if mask is None or not keras.backend.is_int_dtype(mask.dtype):
        return mask
    return ops.not_equal(mask, 0)
