"""A model behind both protocols, from start to the answer of the last request."""

import asyncio
import contextlib
import dataclasses
import logging
import signal
import time

from aiohttp import web

from keras_switch.serving import rest, rpc
from keras_switch.serving.batching import Batcher
from keras_switch.serving.model import ServedModel
from keras_switch.serving.options import Options

NOTICE = (
    "For trying out on one machine: this is no replacement for TF Serving, which takes "
    "the same folder and the same clients."
)


@dataclasses.dataclass(frozen=True)
class Running:
    """A server that runs.

    Args:
        batcher: counts what was answered.
        rest_port: where REST is.
        grpc_port: where gRPC is.
    """

    batcher: Batcher
    rest_port: int
    grpc_port: int


@contextlib.asynccontextmanager
async def served(model, options=None):
    """Serves a model within a context; at its end every request is answered first.

    Args:
        model: `ServedModel`.
        options: `Options`.

    Raises:
        OSError: if a port is not free.
    """
    options = options or Options()
    window = options.batch_window_ms / 1e3
    batcher = Batcher(model.run, model.limits.rows, window, options.max_queue)
    async with batcher:
        app = rest.application(model, batcher, options)
        runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=options.grace_seconds,
        )
        await runner.setup()
        remote = rpc.server(model, batcher, options)
        try:
            site = web.TCPSite(runner, options.host, options.rest_port)
            await site.start()
            port = _listen(remote, options)
            await remote.start()
            yield Running(batcher, runner.addresses[0][1], port)
        finally:
            await asyncio.gather(runner.cleanup(), remote.stop(options.grace_seconds))


def run(folder, name=None, options=None):
    """Serves an exported model until SIGTERM or SIGINT.

    Args:
        folder: `NAME` with versions, of which the newest is served, or `NAME/VERSION`.
        name: of the model; `None`: NAME.
        options: `Options`.

    Raises:
        ValueError: if there is no exported model.
        OSError: if a port is not free.
    """
    asyncio.run(_run(folder, name, options or Options()))


async def _run(folder, name, options):
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    start = time.monotonic()
    # Of gradients, which nobody asks a server for.
    logging.getLogger("absl").setLevel(logging.ERROR)
    model = await asyncio.to_thread(ServedModel, folder, name, options.max_batch_size)
    warmed = await asyncio.to_thread(model.warm_up)
    seconds = time.monotonic() - start
    print(f"{model.folder}: {warmed} warm-up requests, ready in {seconds:.1f} s")
    async with served(model, options) as running:
        host = f"[{options.host}]" if ":" in options.host else options.host
        print(f"REST  http://{host}:{running.rest_port}/v1/models/{model.name}")
        print(f"gRPC  {host}:{running.grpc_port}, model {model.name!r}")
        print(NOTICE, flush=True)
        await stop.wait()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)  # a second one ends it at once
        print("Stopping: requests under way are answered first.", flush=True)
    batcher = running.batcher
    print(
        f"Answered {batcher.answered:,} requests in {batcher.batches:,} batches; "
        f"{batcher.refused:,} found the queue full."
    )


def _listen(remote, options):
    """Returns the port on which a gRPC server listens."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    try:
        return remote.add_insecure_port(f"{host}:{options.grpc_port}")
    except RuntimeError as error:
        raise OSError(
            f"gRPC cannot listen on {host}:{options.grpc_port}: give another "
            "--grpc_port, or 0 for any that is free."
        ) from error
