"""The API server's app: the relay on the hot routes, FastAPI for everything else."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import msgspec
from fastapi import FastAPI, Response
from fastapi.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from api_server.keys import REFUSAL, ApiKeys
from api_server.relay import Limits, Relay
from api_server.replica import Replica
from api_server.settings import ApiServerSettings
from api_server.upstream import Upstream
from api_server.watch import Watch
from baton import __version__
from baton.auth import ClusterToken
from baton.background import running
from baton.errors import ModelNotFoundError, NoWorkerError
from baton.http import EXCEPTION_HANDLERS, Door
from baton.wire import Model
from controller.dispatch import POLICIES

OPEN_PATHS = ("/health", "/ready")
HOT_PATHS = ("/v1/chat/completions", "/v1/completions")


class ModelCard(msgspec.Struct, omit_defaults=True):
    """A model in `GET /v1/models`."""

    id: str
    created: int
    object: str
    owned_by: str
    max_model_len: int = 0  # tokens; vLLM's name for the context length


class ModelList(msgspec.Struct):
    object: str
    data: list[ModelCard]


@dataclass(frozen=True, slots=True)
class Parts:
    """What an API server is made of."""

    replica: Replica
    upstream: Upstream
    watch: Watch
    keys: ApiKeys
    token: ClusterToken


def make_parts(settings: ApiServerSettings, token: ClusterToken) -> Parts:
    replica = Replica(POLICIES[settings.dispatch_method], random.Random())
    return Parts(
        replica=replica,
        upstream=Upstream(settings.connect_timeout, settings.idle_timeout),
        watch=Watch(settings.controller_address, token, replica),
        keys=ApiKeys(settings.api_keys),
        token=token,
    )


def create_app(settings: ApiServerSettings, parts: Parts) -> ASGIApp:
    """The whole app around its parts."""
    limits = Limits(settings.max_attempts, settings.max_body_bytes)
    relay = Relay(parts.replica, parts.upstream, parts.keys, parts.token, limits, uuid4().hex)
    rest = _everything_else(settings, parts)
    # Other methods on the hot paths are answered there, with 405; so is the relay itself behind CORS.
    rest.router.routes.extend(Route(path, relay, methods=["POST"]) for path in HOT_PATHS)
    return rest if settings.allowed_origins else HotPath(relay, rest)


class HotPath:
    """Sends the generating routes to the relay past FastAPI's routing and middleware, which cost as much again."""

    def __init__(self, relay: Relay, rest: ASGIApp) -> None:
        self._relay = relay
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in HOT_PATHS:
            await self._relay(scope, receive, send)
        else:
            await self._rest(scope, receive, send)


def _everything_else(settings: ApiServerSettings, parts: Parts) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with running(parts.watch.run(), parts.upstream.sweep()):
            yield
        parts.upstream.close()

    app = FastAPI(
        title="Baton",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        exception_handlers=dict(EXCEPTION_HANDLERS),
    )
    app.add_middleware(Door, secret=parts.keys, open_paths=OPEN_PATHS, refusal=REFUSAL)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.allowed_origins, allow_methods=["*"], allow_headers=["*"]
        )
    _add_routes(app, parts.replica)
    return app


def _add_routes(app: FastAPI, replica: Replica) -> None:
    @app.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> Response:
        """200 while the process serves."""
        return Response()

    @app.api_route("/ready", methods=["GET", "HEAD"])
    async def ready() -> Response:
        """200 once some worker can take requests."""
        if replica.serves:
            return Response()
        missing = "no worker is ready yet" if replica.informed else "the controller was not reached yet"
        raise NoWorkerError(f"Not ready: {missing}.", retry_after=1)

    @app.get("/version")
    async def version() -> dict[str, str]:
        return {"version": __version__}

    @app.get("/v1/models")
    async def models() -> Response:
        """The models that some worker serves."""
        return _json(ModelList("list", [_card(model) for model in replica.models()]))

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        """One model."""
        for each in replica.models():
            if each.name == name:
                return _json(_card(each))
        raise ModelNotFoundError(f"The model {name!r} does not exist.", param="model")


def _card(model: Model) -> ModelCard:
    return ModelCard(model.name, model.created, "model", "baton", model.context_length)


def _json(body: object) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")
