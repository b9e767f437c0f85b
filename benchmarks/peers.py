"""Cases of other libraries' layers at the same point; `Absent` where one cannot run."""

import importlib

from benchmarks import ours
from benchmarks.common import Absent, Case, cores

MEMORY = 8 * 2**30
"""A peer whose intermediate results need more bytes than this is not run."""


def _need(module, install):
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise Absent(f"{error.name} is not installed ({install})") from error


def model_garden(point):
    """Model Garden's `MoeLayer`: expert-choice routing, one-hot einsums."""
    moe = _need(
        "official.nlp.modeling.layers.moe", "see benchmarks/README.md: Model Garden"
    )
    experts = moe.FeedForwardExperts(
        num_experts=point.num_experts, d_ff=point.d_ff, activation=ours.tf.nn.relu
    )
    router = moe.ExpertsChooseMaskedRouter(
        num_experts=point.num_experts, jitter_noise=0.0, export_metrics=False
    )
    layer = moe.MoeLayer(experts, router, train_capacity_factor=point.capacity)
    name = "Model Garden MoeLayer"

    def forward(x):
        return layer(x, training=True), layer.losses

    forward(ours.tf.zeros(point.shape))
    return ours.tensorflow_case(name, forward, layer.trainable_variables, point.shape)


def keras_hub_mixtral(point):
    """KerasHub's Mixtral block with one choice and as many weights: 2/3 of the width.

    It runs every expert on every token.
    """
    # Three hidden tensors (T, E, F), and about as many for the backward pass.
    width = point.d_ff * 2 // 3
    memory = 6 * 4 * point.tokens * point.num_experts * width
    if memory > MEMORY:
        raise Absent(
            f"runs every expert on every token: needs {memory / 2**30:.0f} GiB"
        )
    mixtral = _need("keras_hub.src.models.mixtral.mixtral_decoder", "keras-hub")
    layer = mixtral.MixtralSparseMoeBlock(
        point.d_model, width, point.num_experts, top_k=1
    )
    layer.build(point.shape)
    variables = [v.value for v in layer.trainable_variables]

    def forward(x):
        return layer(x, training=True)[0], layer.losses

    name = "KerasHub Mixtral block"
    return ours.tensorflow_case(name, forward, variables, point.shape)


def hugging_face(point):
    """Hugging Face's PyTorch `SwitchTransformersSparseMLP`."""
    module = "transformers.models.switch_transformers.modeling_switch_transformers"
    switch = _need(module, "transformers")
    layer = switch.SwitchTransformersSparseMLP(_hugging_face_config(point))
    return _torch_case("Hugging Face SparseMLP (torch)", layer, point)


def hugging_face_dense(point):
    """Hugging Face's PyTorch dense twin."""
    module = "transformers.models.switch_transformers.modeling_switch_transformers"
    switch = _need(module, "transformers")
    layer = switch.SwitchTransformersDenseActDense(_hugging_face_config(point))
    return _torch_case("Hugging Face dense (torch)", layer, point)


def _hugging_face_config(point):
    from transformers import SwitchTransformersConfig

    return SwitchTransformersConfig(
        d_model=point.d_model,
        d_ff=point.d_ff,
        num_experts=point.num_experts,
        expert_capacity=int(point.capacity * point.length / point.num_experts),
        dropout_rate=0.0,
        router_jitter_noise=0.0,
    )


def _torch_case(name, layer, point):
    torch = _need("torch", "torch")
    torch.set_num_threads(cores())
    data = [[torch.from_numpy(x) for x in b] for b in ours.batches(point.shape)]
    layer.train()

    def run(i):
        x, weights = data[i % len(data)]
        x = x.detach().requires_grad_()
        loss = (layer(x) * weights).sum()
        loss.backward()
        gradients = [x.grad, *(p.grad for p in layer.parameters())]
        total = loss.item() + sum(
            g.ravel()[0].item() for g in gradients if g is not None
        )
        layer.zero_grad(set_to_none=True)
        return total

    return Case(name, run)


ALL = (model_garden, keras_hub_mixtral, hugging_face, hugging_face_dense)
