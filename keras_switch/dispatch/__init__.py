"""Dispatch: tokens to experts and back, in four forms behind one interface.

```python
route = dispatcher.route(assignment)        # all index work, once
rows = route.dispatch(x)                    # to the experts
rows = route.run(experts, rows)             # experts(rows, owner=route.owner)
y = route.combine(rows)                     # and back
```

What a token goes through, letter by letter, for a batch of B = 2 sequences of L = 8
tokens, D = 4 numbers each; E = 4 experts with capacity C = 2 in each of G = 2 groups of
S = 8 tokens; K = 1 choice a token; F hidden units in an expert:

    inputs                              (B, L, D)       2 8 4
    groups.split                        (G, S, D)       2 8 4
    router logits                       (G, S, E)       2 8 4    float32
    assignment: expert, place, gate     (G, S, K)       2 8 1

    `EinsumDispatch`
    dispatch (0 or 1)                   (G, S, E, C)    2 8 4 2
    x . dispatch, over S                (E, G, C, D)    4 2 2 4
    rows                                (E, G*C, D)     4 4 4
    rows . wi, an expert at a time      (E, G*C, F)     4 4 F
    hidden . wo                         (E, G*C, D)     4 4 4
    rows . combine (gates), over E, C   (G, S, D)       2 8 4    summed in float32

    `GatherDispatch`: the same rows, by index
    choice, that fills a row            (E, G*C)        4 4      of T*K = 16, or none
    rows = x[choice // K]               (E, G*C, D)     4 4 4
    row, that serves a choice           (T, K)          16 1     of E*G*C = 16
    sum_k gate * rows[row]              (T, D)          16 4     summed in float32

    `DroplessDispatch`: N blocks of R rows instead of E queues
    owner, the expert of a block        (N,)
    rows = x[choice // K]               (N, R, D)
    rows . wi[owner]                    (N, R, F)

    `InTurnDispatch`: the same blocks one after the other, for inference

    groups.join                         (B, L, D)       2 8 4

A choice beyond its expert's capacity has no row: its gate counts as 0, and a token
without any row leaves as exactly 0.
"""

from keras_switch.dispatch.dropless import DroplessDispatch as DroplessDispatch
from keras_switch.dispatch.einsum import EinsumDispatch as EinsumDispatch
from keras_switch.dispatch.gather import GatherDispatch as GatherDispatch
from keras_switch.dispatch.groups import BySequence as BySequence
from keras_switch.dispatch.groups import FixedGroups as FixedGroups
from keras_switch.dispatch.groups import FlaxformerGroups as FlaxformerGroups
from keras_switch.dispatch.groups import Groups as Groups
from keras_switch.dispatch.groups import MeshTensorFlowGroups as MeshTensorFlowGroups
from keras_switch.dispatch.in_turn import InTurnDispatch as InTurnDispatch
