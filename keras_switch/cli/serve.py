"""`keras-switch serve`."""


def serve(
    model: str,
    name: str | None = None,
    host: str = "127.0.0.1",
    rest_port: int = 8501,
    grpc_port: int = 8500,
    max_batch_size: int | None = None,
    batch_window_ms: int = 2,
    max_queue: int = 1000,
    max_body_bytes: int = 1048576,
    grace_seconds: int = 60,
):
    """Serves an exported model on this machine until SIGTERM or SIGINT.

    It speaks TF Serving's REST and gRPC for trying out, and is no replacement for it.

    Args:
        model: folder that `export` wrote: `NAME` with versions, of which the newest is
            served, or `NAME/VERSION`.
        name: of the model; `None`: NAME.
        host: address to listen on.
        rest_port: of REST; 0: any that is free.
        grpc_port: of gRPC; 0: any that is free.
        max_batch_size: see `serving.Options`.
        batch_window_ms: see there.
        max_queue: see there.
        max_body_bytes: see there.
        grace_seconds: see there.

    Raises:
        ImportError: if a package of `keras-switch[serve]` is not installed.
        ValueError: if there is no exported model.
        OSError: if a port is not free.
    """
    try:
        from keras_switch import serving
    except ModuleNotFoundError as error:
        raise ImportError(
            f"keras-switch serve needs {error.name}: pip install 'keras-switch[serve]'."
        ) from error
    options = serving.Options(
        host,
        rest_port,
        grpc_port,
        max_batch_size,
        batch_window_ms,
        max_queue,
        max_body_bytes,
        grace_seconds,
    )
    serving.run(model, name, options)
