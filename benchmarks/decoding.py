"""Greedy decoding: ours against Hugging Face's, and experts against the dense twin.

Switch-Base-8 cut to 4 + 4 layers, 64 new tokens after an input of 64 tokens; batches of
1, 8 and 32. No stop token: every case writes 64 tokens. The time of a step is that of
64 tokens less that of one, so that the encoder does not count.
"""

import argparse
import dataclasses
import functools

import numpy as np

from benchmarks import common, report
from benchmarks.common import Absent, Case, cores
from benchmarks.models import BASE_CONFIG
from keras_switch import models

NEW, INPUTS = 64, 64
BATCHES = (1, 8, 32)
EXPERTS = {8: 1.3, 64: 1.5}
LAYERS = 4
DENSE = "dense twin"


def main(argv=None):
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, nargs="*", default=BATCHES)
    parser.add_argument("--experts", type=int, nargs="*", default=[*EXPERTS])
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--jit", action="store_true", help="ours compiled by XLA, too")
    args = parser.parse_args(argv)
    out = report.Report("decoding", "Greedy decoding with caches")
    for rows in args.batches:
        if not args.no_peers:
            _peers(out, rows, args)
        _experts(out, rows, args)


def _peers(out, rows, args):
    config = _config(8)
    makers = [functools.partial(ours, "keras_switch", config)]
    if args.jit:
        makers.append(functools.partial(ours, "keras_switch, XLA", config, jit=True))
    makers.append(functools.partial(hugging_face, config))
    timings = common.compare(common.attempt(map(_named, makers), rows), args.rounds)
    first = timings["keras_switch"]
    heading = f"Switch-Base-8 cut to 4 + 4 layers, batch {rows}, 64 new tokens"
    out.table(heading, *report.times(timings, ours=first))
    if THEIRS in timings:
        verdict = report.verdict("ours to Hugging Face's", first, timings[THEIRS], 1.0)
        out.lines([verdict])


def _experts(out, rows, args):
    """Compares steps: whole generations of 64 tokens and of one, both timed."""
    names = {DENSE: None, **{f"{e} experts": e for e in args.experts}}
    cases = []
    for name, experts in names.items():
        model = _model(_config(experts, placement=models.NoLayers()))  # of the encoder
        cases.append(_case(name, model, rows, NEW))
        cases.append(_case(f"{name}, one token", model, rows, 1))
    timings = common.compare(cases, args.rounds)
    steps = {name: _step(name, timings) for name in names}
    heading = f"A step of decoding, 4 decoder layers, batch {rows}"
    out.table(heading, *report.times(steps, dense=steps[DENSE]))
    out.lines(
        [
            report.verdict(name, steps[name], steps[DENSE], EXPERTS.get(experts, 1.5))
            + _read(experts, rows)
            for name, experts in names.items()
            if experts
        ]
    )


def _step(name, timings):
    """Returns the timing of a step: 64 tokens less one, by 63."""
    whole, one = timings[name].seconds, timings[f"{name}, one token"].seconds
    step = common.Timing(name, timings[name].first)
    step.seconds = {i: (whole[i] - one[i]) / (NEW - 1) for i in whole.keys() & one}
    return step


def _read(experts, rows):
    """Returns how many experts' weights a step reads in a layer, by chance."""
    read = experts * (1 - (1 - 1 / experts) ** rows)
    return f"; reads {read:.1f} experts a layer, the twin 1"


def ours(name, config, rows, jit=False):
    """Returns the case of this library."""
    return _case(name, _model(config, jit), rows, NEW)


def _model(config, jit=False):
    model = models.SwitchSeq2SeqLM(models.SwitchBackbone(config))
    model.compile(sampler="greedy", jit_compile=jit)
    return model


def _case(name, model, rows, new):
    prompt = np.zeros((rows, new + 1), "int32")
    mask = (np.arange(new + 1) == 0) * np.ones((rows, 1), "int32")

    def run(i):
        ids = _ids(i, rows)
        found = model.generate(
            {
                "encoder_token_ids": ids,
                "encoder_padding_mask": np.ones_like(ids),
                "decoder_token_ids": prompt,
                "decoder_padding_mask": mask,
            },
            stop_token_ids=None,
        )
        return float(found["decoder_token_ids"].sum())

    return Case(name, run)


THEIRS = "Hugging Face generate (torch)"


def hugging_face(config, rows):
    """Returns the case of Hugging Face's model and its `generate`."""
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise Absent(f"{error.name} is not installed") from error
    from benchmarks.models import Shape, _hugging_face_model

    torch.set_num_threads(cores())
    shape = Shape(rows, INPUTS, NEW)
    model = _hugging_face_model(transformers, config, shape).eval()

    def run(i):
        ids = torch.from_numpy(_ids(i, rows)).long()
        with torch.inference_mode():
            found = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                min_new_tokens=NEW,
                max_new_tokens=NEW,
                num_beams=1,
                do_sample=False,
            )
        if found.shape[1] != NEW + 1:
            raise ValueError(f"{found.shape[1] - 1} tokens instead of {NEW}.")
        return float(found.sum())

    return Case(THEIRS, run)


def _ids(i, rows):
    return np.random.default_rng(i).integers(3, 32000, (rows, INPUTS), "int32")


def _config(experts, **changes):
    """Returns the config with so many experts in every other layer; `None`: none."""
    sparse = None
    if experts is not None:
        changes = {"decoder_placement": models.Odd(), **changes}
        base = BASE_CONFIG.sparse
        sparse = dataclasses.replace(base, num_experts=experts, **changes)
    return dataclasses.replace(BASE_CONFIG, num_layers=LAYERS, sparse=sparse)


def _named(maker):
    maker.__name__ = maker.func.__name__
    return maker


if __name__ == "__main__":
    main()
