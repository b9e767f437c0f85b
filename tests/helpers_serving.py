"""Servers in a thread, and the clients of tests."""

import asyncio
import contextlib
import json
import threading
import urllib.error
import urllib.request

from keras_switch import serving


class Loop:
    """An event loop in a thread: gRPC wants one for all servers of a process."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def do(self, coroutine, seconds=60):
        """Returns what a coroutine gives in the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(seconds)

    @contextlib.contextmanager
    def served(self, model, **options):
        """Yields a server at free ports, and stops it."""
        options = {"rest_port": 0, "grpc_port": 0, **options}
        server = serving.served(model, serving.Options(**options))
        running = self.do(server.__aenter__())
        try:
            yield running
        finally:
            self.do(server.__aexit__(None, None, None))

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def fetch(port, path, body=None, headers=None):
    """Returns the status and the JSON of a request; `body`: bytes, or to be JSON."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    url = f"http://127.0.0.1:{port}{path}"
    request = urllib.request.Request(url, body, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
