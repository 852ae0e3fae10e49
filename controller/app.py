"""The controller's app: the WebSockets, the fleet as JSON, FastChat's routes."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import msgspec
from fastapi import FastAPI, Response, WebSocket

from baton import __version__
from baton.auth import REFUSAL, ClusterToken
from baton.background import running
from baton.http import EXCEPTION_HANDLERS, Door
from baton.wire import LINK_PATH, WATCH_PATH, Model, State
from controller.dispatch import POLICIES
from controller.fastchat import FastChatRoutes
from controller.fleet import Fleet
from controller.links import Links
from controller.settings import ControllerSettings
from controller.watch import Watchers

log = logging.getLogger(__name__)

SWEEP = 0.5  # seconds between two looks for the silent and the dead
OPEN_PATHS = ("/health", "/ready")


class FleetWorker(msgspec.Struct):
    """A worker in `GET /fleet`."""

    address: str
    engine: str
    models: list[Model]
    state: State
    silent: bool
    in_flight: int  # requests as the dispatch counts them
    running: int
    waiting: int
    slots: int
    speed: float
    kv_usage: float
    tokens_per_second: float
    heard_seconds_ago: float
    version: str
    notes: dict[str, str]


class FleetPicture(msgspec.Struct):
    """`GET /fleet`."""

    version: str
    dispatch_method: str
    api_servers: int
    models: list[str]
    workers: list[FleetWorker]


def create_app(settings: ControllerSettings, token: ClusterToken) -> FastAPI:
    """The app with its parts; they live as long as it does."""
    clock = time.monotonic
    watchers = Watchers()
    fleet = Fleet(uuid4().hex, POLICIES[settings.dispatch_method], random.Random(), watchers.touch)
    links = Links(fleet, clock)
    fastchat = FastChatRoutes(fleet, token, clock, settings.fastchat_expiration)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with running(_sweep(fleet)):
            yield
        await fastchat.close()

    app = FastAPI(
        title="Baton controller",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        exception_handlers=dict(EXCEPTION_HANDLERS),
    )
    app.add_middleware(Door, secret=token, open_paths=OPEN_PATHS, refusal=REFUSAL)
    app.include_router(fastchat.router())

    @app.api_route("/health", methods=["GET", "HEAD"])
    @app.api_route("/ready", methods=["GET", "HEAD"])
    async def health() -> Response:
        """A controller that answers can do its job: its state comes by itself."""
        return Response()

    @app.get("/fleet")
    async def picture() -> Response:
        """The live state: every worker with its models and load."""
        body = fleet_picture(fleet, settings.dispatch_method, len(watchers), clock())
        return Response(msgspec.json.encode(body), media_type="application/json")

    @app.websocket(LINK_PATH)
    async def link(socket: WebSocket) -> None:
        await links.serve(socket)

    @app.websocket(WATCH_PATH)
    async def watch(socket: WebSocket) -> None:
        await watchers.serve(socket, fleet)

    return app


def fleet_picture(fleet: Fleet, dispatch_method: str, api_servers: int, now: float) -> FleetPicture:
    """What `GET /fleet` shows."""
    workers = [
        FleetWorker(
            address=worker.address,
            engine=worker.hello.engine,
            models=worker.hello.models,
            state=worker.status.state,
            silent=worker.silent,
            in_flight=worker.load,
            running=worker.status.running,
            waiting=worker.status.waiting,
            slots=worker.slots,
            speed=worker.speed,
            kv_usage=worker.status.kv_usage,
            tokens_per_second=worker.status.tokens_per_second,
            heard_seconds_ago=round(fleet.quiet(worker.address, now), 3),
            version=worker.hello.version,
            notes=worker.hello.notes,
        )
        for worker in fleet.registry.workers()
    ]
    return FleetPicture(__version__, dispatch_method, api_servers, fleet.registry.models(), workers)


async def _sweep(fleet: Fleet) -> None:
    while True:
        await asyncio.sleep(SWEEP)
        for address in fleet.expire(time.monotonic()):
            log.warning("worker %s was silent for too long and is gone", address)
