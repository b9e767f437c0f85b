"""TF Serving's REST API before a model.

GET  /v1/models/NAME[/versions/N]             status
GET  /v1/models/NAME[/versions/N]/metadata    signatures
POST /v1/models/NAME[/versions/N]:predict     answers
"""

import asyncio
import logging

from aiohttp import web

from keras_switch.serving import json_forms, protos
from keras_switch.serving.errors import Reason, Refused

MODEL = r"/v1/models/{name:[^/:]+}"
VERSION = MODEL + r"/versions/{version:\d+}"


def application(model, batcher, options) -> web.Application:
    """Returns the routes of a model.

    Args:
        model: `ServedModel`.
        batcher: `Batcher` before it.
        options: `Options`.
    """
    handlers = _Handlers(model, batcher)
    app = web.Application(
        middlewares=[_errors_as_json], client_max_size=options.max_body_bytes
    )
    for path in (MODEL, VERSION):
        app.router.add_get(path, handlers.status)
        app.router.add_get(f"{path}/metadata", handlers.metadata)
        app.router.add_post(f"{path}:predict", handlers.predict)
    app.router.add_route("*", "/{path:.*}", _nothing_there)
    return app


class _Handlers:
    def __init__(self, model, batcher):
        self.model = model
        self.batcher = batcher

    async def status(self, request):
        self._check(request)
        return web.json_response(protos.as_json(protos.status(self.model)))

    async def metadata(self, request):
        self._check(request)
        return web.json_response(protos.metadata_as_json(self.model))

    async def predict(self, request):
        self._check(request)
        body = await request.read()
        # Long bodies keep neither other requests nor the model waiting.
        question, by_row = await asyncio.to_thread(json_forms.read, body, self.model)
        outputs = await self.batcher.ask(question)
        text = await asyncio.to_thread(json_forms.write, outputs, by_row)
        return web.Response(text=text, content_type="application/json")

    def _check(self, request):
        version = request.match_info.get("version")
        name = request.match_info["name"]
        self.model.check(name, None if version is None else int(version))


@web.middleware
async def _errors_as_json(request, handler):
    try:
        return await handler(request)
    except Refused as refused:
        return _error(str(refused), refused.reason.http)
    except web.HTTPRequestEntityTooLarge as error:
        return _error(error.text, error.status)
    except web.HTTPException as error:
        return _error(error.reason, error.status)
    except Exception:
        logging.getLogger(__name__).exception("%s %s", request.method, request.path)
        return _error("the server failed: see its log", Reason.FAILED.http)


async def _nothing_there(request):
    message = f"Malformed request: {request.method} {request.path}"
    status = 400 if request.path.startswith("/v1/") else 404
    return _error(message, status)


def _error(message, status):
    return web.json_response({"error": message}, status=status)
