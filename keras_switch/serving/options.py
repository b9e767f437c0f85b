"""Where a model is served, and how much is taken."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Options:
    """How a model is served.

    Args:
        host: address to listen on; by itself this machine alone reaches it.
        rest_port: of REST; 0: any that is free.
        grpc_port: of gRPC; 0: any that is free.
        max_batch_size: inputs of a request, and of what the model gets at once; `None`:
            as many as the export says.
        batch_window_ms: milliseconds that a request waits for others to join it, if the
            model is idle.
        max_queue: requests that wait for the model; what comes then is refused.
        max_body_bytes: bytes of a request.
        grace_seconds: for requests under way when the server is stopped.

    Raises:
        ValueError: naming every mistake at once.
    """

    host: str = "127.0.0.1"
    rest_port: int = 8501
    grpc_port: int = 8500
    max_batch_size: int | None = None
    batch_window_ms: int = 2
    max_queue: int = 1000
    max_body_bytes: int = 2**20
    grace_seconds: int = 60

    def __post_init__(self):
        mistakes = [*self._mistakes()]
        if mistakes:
            raise ValueError(f"serving: {'; '.join(mistakes)}")

    def _mistakes(self):
        least = {"batch_window_ms": 0, "grace_seconds": 0, "max_queue": 1}
        for name, low in {**least, "max_batch_size": 1, "max_body_bytes": 1}.items():
            value = getattr(self, name)
            if value is not None and value < low:
                yield f"{name}={value}: give at least {low}"
        for name in ("rest_port", "grpc_port"):
            port = getattr(self, name)
            if not 0 <= port < 2**16:
                yield f"{name}={port}: give a number below 65536, 0 for any free port"
        if self.rest_port == self.grpc_port != 0:
            yield f"rest_port and grpc_port are both {self.rest_port}: give two"
