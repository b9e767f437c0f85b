"""`keras-switch serve` under load: right answers, how fast, and memory over time.

Hundreds of clients in this process ask a server in another on the same cores: texts by
REST and token ids by gRPC, of mixed lengths, each compared with what the exported model
says alone. One request in twenty of the long run is malformed.
"""

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import itertools
import math
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import aiohttp
import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from benchmarks import report
from keras_switch import data, export, models

OPTIONS = export.Serving(
    input_lengths=(32, 64, 128), max_new_tokens=16, max_batch_size=32, warm_up=True
)
CLIENTS = (1, 32, 256)
QUESTIONS = 48  # different ones of each kind
MALFORMED = 20  # one request in so many
TOLERANCE = 1e-4  # of a score, sixteen log-likelihoods in float32
GROWTH = 1.02  # of memory, after the first fifth


def main(argv=None):
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="of each row")
    parser.add_argument("--clients", type=int, nargs="*", default=CLIENTS)
    parser.add_argument("--long", type=int, default=10_000, help="of the long run")
    args = parser.parse_args(argv)
    out = report.Report("serving", "A served model under load")
    with tempfile.TemporaryDirectory() as folder:
        written = _model().export(pathlib.Path(folder) / "switch" / "1", OPTIONS)
        asked, alone = _questions(written.folder)
        with Server(written.folder.parent) as server:
            asyncio.run(_load(out, args, server, asked, alone))


@dataclasses.dataclass(frozen=True)
class Asked:
    """A question, and what the model alone says to it.

    Args:
        text: for REST.
        ids: for gRPC, the same as token ids.
        answer: text, ids and score.
    """

    text: str
    ids: list[int]
    answer: tuple


class Server:
    """The command, in a process of its own.

    Args:
        folder: of the model.
    """

    def __init__(self, folder):
        words = ["serve", f"--model={folder}", "--rest_port=0", "--grpc_port=0"]
        command = [sys.executable, "-m", "keras_switch", *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.rest, self.grpc = None, None
        for line in self.process.stdout:
            if found := re.match(r"REST +(\S+)", line):
                self.rest = found[1]
            if found := re.match(r"gRPC +([^\s,]+)", line):
                self.grpc = found[1]
                break

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()

    @property
    def memory(self) -> int:
        """Bytes that the process holds in memory."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024

    def stop(self) -> int:
        """Sends SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


class Clients:
    """Both clients of a server, to be entered.

    Args:
        server: `Server`.
        asked: list of `Asked`.
    """

    def __init__(self, server, asked):
        self.server = server
        self.asked = asked
        self.told = collections.Counter()
        self.stack = contextlib.AsyncExitStack()

    async def __aenter__(self):
        connector = aiohttp.TCPConnector(limit=0)
        session = aiohttp.ClientSession(connector=connector)
        self.session = await self.stack.enter_async_context(session)
        channel = grpc.aio.insecure_channel(self.server.grpc)
        channel = await self.stack.enter_async_context(channel)
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return self

    async def __aexit__(self, *error):
        await self.stack.aclose()

    async def rest(self, i):
        """Asks a text; counts the answer as right or wrong."""
        asked = self.asked[i % len(self.asked)]
        body = {"instances": [asked.text]}
        async with self.session.post(f"{self.server.rest}:predict", json=body) as got:
            found = await got.json()
        if got.status != 200:
            self.told[f"status {got.status}"] += 1
            return
        (row,) = found["predictions"]
        text, _, score = asked.answer
        same = row["outputs"] == text and _close(row["scores"], score)
        self.told["right" if same else "wrong"] += 1

    async def rpc(self, i):
        """Asks ids; counts the answer as right or wrong."""
        asked = self.asked[i % len(self.asked)]
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "switch"
        request.model_spec.signature_name = "generate"
        ids = tf.make_tensor_proto([asked.ids], tf.int32)
        request.inputs["encoder_token_ids"].CopyFrom(ids)
        found = await self.stub.Predict(request, timeout=120)
        ids = tf.make_ndarray(found.outputs["output_ids"])[0].tolist()
        score = tf.make_ndarray(found.outputs["scores"])[0]
        same = ids == asked.answer[1] and _close(score, asked.answer[2])
        self.told["right" if same else "wrong"] += 1

    async def malformed(self, i):
        """Asks something that is to be refused."""
        bodies = ({"instances": [[1]]}, {"inputs": {"x": 1}}, ["?"], {"instances": []})
        body = bodies[i % len(bodies)]
        async with self.session.post(f"{self.server.rest}:predict", json=body) as got:
            told = list(await got.json()) == ["error"] and got.status == 400
        self.told["refused" if told else "wrong"] += 1

    async def mixed(self, i):
        """Asks by both protocols in turn, and sometimes something malformed."""
        if i % MALFORMED == MALFORMED - 1:
            return await self.malformed(i // MALFORMED)
        return await (self.rest if i % 2 else self.rpc)(i)

    async def run(self, ask, count, clients, every=None):
        """Asks `count` times with so many at once; returns seconds, and of each.

        Args:
            ask: method of a number.
            count: how many requests.
            clients: how many wait for an answer at any time.
            every: function of a number, called before each request.
        """
        numbers, seconds = itertools.count(), []

        async def client():
            while (i := next(numbers)) < count:
                if every:
                    every(i)
                start = time.perf_counter()
                try:
                    await ask(i)
                except (aiohttp.ClientError, grpc.aio.AioRpcError, OSError):
                    self.told["lost"] += 1
                seconds.append(time.perf_counter() - start)

        start = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        return time.perf_counter() - start, seconds


async def _load(out, args, server, asked, alone):
    async with Clients(server, asked) as clients:
        await clients.run(clients.mixed, 200, 32)  # shapes seen for the first time
        clients.told.clear()
        await _speed(out, args, clients, alone)
        await _memory(out, args, clients)
        await _end(out, clients)


async def _speed(out, args, clients, alone):
    rows, numbers = [], {}
    told, wrong = _row("the model alone, one by one", sum(alone), alone, 0)
    rows.append(told)
    for name, ask in (("REST, texts", clients.rest), ("gRPC, ids", clients.rpc)):
        for many in args.clients:
            clients.told.clear()
            count = min(args.requests, 20 * many + 200)
            whole, seconds = await clients.run(ask, count, many)
            wrong = count - clients.told["right"]
            row, number = _row(f"{name}, {many} at once", whole, seconds, wrong)
            rows.append(row)
            numbers[row[0]] = number
    columns = ["", "requests/s", "p50 ms", "p99 ms", "wrong or lost"]
    out.table("Requests of one input", columns, rows, numbers)


def _close(score, wanted):
    return math.isclose(score, wanted, rel_tol=TOLERANCE)


def _row(name, whole, seconds, wrong):
    """Returns the cells of a row, and their numbers."""
    cuts = statistics.quantiles(seconds, n=100)
    rate, median, late = len(seconds) / whole, cuts[49] * 1e3, cuts[98] * 1e3
    cells = [name, f"{rate:.0f}", f"{median:.1f}", f"{late:.1f}", str(wrong)]
    return cells, {"rate": rate, "p50_ms": median, "p99_ms": late, "wrong": wrong}


async def _memory(out, args, clients):
    most, step = max(args.clients), max(1, args.long // 10)
    clients.told.clear()
    held = []

    def look(i):
        if i % step == 0:
            held.append(clients.server.memory)

    whole, seconds = await clients.run(clients.mixed, args.long, most, look)
    held.append(clients.server.memory)
    rows = [[f"{i * step:,}", f"{size / 2**20:.0f}"] for i, size in enumerate(held)]
    heading = f"Memory of the server over {args.long:,} requests, {most} at once"
    out.table(heading, ["requests", "MiB"], rows, {"bytes": held})
    told = dict(clients.told)
    bad = args.long - told.get("right", 0) - told.get("refused", 0)
    growth = held[-1] / held[len(held) // 5]
    late = statistics.quantiles(seconds, n=100)[98]
    out.lines(
        [
            f"{told.get('right', 0):,} right, {told.get('refused', 0):,} malformed and "
            f"refused, {bad} wrong or lost: {'yes' if bad == 0 else 'NO'}",
            f"{args.long / whole:.0f} requests/s, p99 {late * 1e3:.0f} ms",
            f"memory grew {growth:.3f} x after the first fifth (at most {GROWTH}): "
            f"{'yes' if growth <= GROWTH else 'NO'}",
        ]
    )


async def _end(out, clients):
    """Stops the server while requests are under way."""
    clients.told.clear()
    asking = asyncio.create_task(clients.run(clients.mixed, 400, 100))
    while clients.told["right"] < 100:
        await asyncio.sleep(0.001)
    code = await asyncio.to_thread(clients.server.stop)
    await asking
    right, told = clients.told["right"] + clients.told["refused"], clients.told
    fine = code == 0 and not told["wrong"]
    out.lines(
        [
            f"SIGTERM under load: {right} of 400 answered, {told['lost']} found it "
            f"stopping, {told['wrong']} wrong, exit code {code}: "
            f"{'yes' if fine else 'NO'}"
        ]
    )


def _model():
    """Returns `switch_tiny` with a vocabulary, and weights that tell inputs apart."""
    words = data.embedded_vocabulary()
    config = models.PRESETS["switch_tiny"].config
    model = models.SwitchSeq2SeqLM(
        models.SwitchBackbone(config),
        models.SwitchSeq2SeqLMPreprocessor(models.SwitchTokenizer(words.sp_model)),
    )
    rng = np.random.default_rng(0)
    for weight in model.weights:
        noise = 0.3 * rng.standard_normal(weight.shape)
        weight.assign(weight.numpy() + noise)
    return model


def _questions(folder):
    """Returns a list of `Asked`, and the seconds that the model alone took for each."""
    signatures = tf.saved_model.load(str(folder)).signatures
    tokenizer = models.SwitchTokenizer(data.embedded_vocabulary().sp_model)
    words = " ".join(data.corpus.documents()[:20]).split()
    rng, asked, seconds = np.random.default_rng(0), [], []
    for _ in range(QUESTIONS):
        first, many = rng.integers(0, len(words) - 80), rng.integers(1, 60)
        text = " ".join(words[first : first + many])
        ids = [*tokenizer(text)[: OPTIONS.input_lengths[-1] - 1], 1]
        for _ in range(2):  # the second is timed
            start = time.perf_counter()
            found = signatures["serving_default"](inputs=tf.constant([text]))
            answer = found["outputs"].numpy()[0].decode()
            taken = time.perf_counter() - start
        found = signatures["generate"](encoder_token_ids=tf.constant([ids], tf.int32))
        output = found["output_ids"].numpy()[0].tolist()
        score = float(found["scores"].numpy()[0])
        asked.append(Asked(text, [int(i) for i in ids], (answer, output, score)))
        seconds.append(taken)
    return asked, seconds


if __name__ == "__main__":
    main()
