"""Models that T5X can run."""

import helpers_models

from keras_switch import models
from keras_switch.dispatch import FlaxformerGroups
from keras_switch.routing import CapacityFactor, ExpertChoice, Switch, TopK


def sparse(config, **changes):
    import dataclasses

    routing = Switch(
        capacity=CapacityFactor(1.25, 2.0, 2, "round", at_most_group=False),
        padding="flaxformer",
        z_loss_weight=0.001,
    )
    part = models.Sparse(
        4,
        48,
        models.Every(2),
        routing=routing,
        groups=FlaxformerGroups(16, 4),
        layer_losses=models.LayerMean(),
    )
    part = dataclasses.replace(part, **changes)
    return dataclasses.replace(config, sparse=part)


TOP2 = TopK(
    2,
    balance_over="all",
    padding="flaxformer_ignore",
    capacity=CapacityFactor(1.0, 1.0, 4, "round", at_most_group=False),
)

ROUND_TRIPS = {
    "dense": helpers_models.tiny(sparse=None, position=models.RelativePosition()),
    "gated, untied": helpers_models.tiny(
        sparse=None,
        position=models.RelativePosition(),
        mlp=models.GatedMlp("silu"),
        tie_embeddings=False,
        dropout_rate=0.1,
        num_decoder_layers=3,
    ),
    "switch": sparse(helpers_models.tiny()),
    "top-2, bias, extra mlp": sparse(
        helpers_models.tiny(mlp=models.GatedMlp()),
        routing=TOP2,
        router=models.RouterOptions(use_bias=True),
        extra_mlp=models.GatedMlp(),
        expert_dropout_rate=0.4,
        d_ff=None,
    ),
    "experts choose": sparse(
        helpers_models.tiny(num_layers=3),
        placement=models.Bottom(1),
        routing=ExpertChoice(padding="flaxformer", capacity=TOP2.capacity),
        decoder_routing=TOP2,
    ),
}
