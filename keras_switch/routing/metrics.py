"""What to watch while experts are trained, from an assignment.

Axes: G routing groups, S tokens in a group, E experts, K choices of a token.
"""

from keras import ops

from keras_switch.routing.queues import indicator


def metrics(assignment) -> dict:
    """Returns the metrics of one layer's assignment, float32.

    Padding that is not routed does not count.

    Returns:
        - `"load"`: `(E,)`, share of the choices that ask for each expert, before any
          is dropped; 1 / E when even.
        - `"dropped"`: `()`, share of the real tokens that no expert serves.
        - `"confidence"`: `()`, mean gate of the choices that are served.
        - `"entropy"`: `()`, mean entropy of a token's probabilities, in nats; ln E
          when the router does not care.
        - `"usage"`: `()`, share of the experts' rows that are filled; 1 without a
          capacity.
    """
    real, kept = assignment.real, ops.cast(assignment.kept, "float32")
    num_real = ops.maximum(ops.sum(real), 1.0)
    num_kept = ops.sum(kept)
    served = ops.max(kept, axis=-1)  # (G, S)
    probs = assignment.probs
    surprise = -ops.sum(probs * ops.log(ops.maximum(probs, 1e-30)), axis=-1)
    return {
        "load": load(assignment),
        "dropped": 1 - ops.sum(served * real) / num_real,
        "confidence": ops.sum(assignment.gate * kept) / ops.maximum(num_kept, 1.0),
        "entropy": ops.sum(surprise * real) / num_real,
        "usage": _usage(assignment, num_kept),
    }


def load(assignment):
    """Returns the share of the choices that ask for each expert, `(E,)` float32."""
    asked = ops.cast(ops.greater_equal(assignment.place, 0), "float32")
    chosen = indicator(assignment.expert, assignment.num_experts)  # (G, S, K, E)
    count = ops.einsum("gsk,gske->e", asked, chosen)
    return count / ops.maximum(ops.sum(count), 1.0)


def _usage(assignment, num_kept):
    if assignment.capacity is None:
        return ops.ones_like(num_kept)
    groups = ops.cast(ops.shape(assignment.place)[0], "float32")
    return num_kept / (groups * assignment.num_experts * assignment.capacity)
