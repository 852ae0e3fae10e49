"""FastChat's controller protocol, for old workers, old clients and its Gradio server: ten routes, same bodies.

Different from FastChat on purpose: malformed bodies get 400 instead of 500, ties are broken at random, counts go down
when requests end, nobody is polled while a client waits for a list, and no address is fetched because a stranger
named it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from baton.auth import ClusterToken, is_loopback
from baton.errors import InvalidRequestError, OverloadedError, WorkerFailedError
from baton.http import decode_json, read_json, read_request
from baton.wire import Address, Hello, Model, Protocol
from controller.fastchat_messages import (
    NO_WORKER,
    Chosen,
    Exist,
    HeartBeat,
    ModelQuery,
    Models,
    Registration,
    WorkerStatus,
    trouble_frame,
)
from controller.fleet import Fleet, FleetFullError
from controller.registry import Worker

if TYPE_CHECKING:
    from controller.old_workers import OldWorkers

log = logging.getLogger(__name__)

RELAY_LIMIT = 32 << 20  # bytes of a request that is relayed


class FastChatRoutes:
    """The routes over one fleet. `expiration`: the seconds that an old worker lives without a heartbeat."""

    def __init__(self, fleet: Fleet, token: ClusterToken, clock: Callable[[], float], expiration: float) -> None:
        self._fleet = fleet
        self._token = token
        self._clock = clock
        self._expiration = expiration
        self._callers: OldWorkers | None = None

    def router(self) -> APIRouter:
        router = APIRouter()
        posts: dict[str, Callable[..., Awaitable[Response]]] = {
            "/register_worker": self.register_worker,
            "/refresh_all_workers": self.refresh_all_workers,
            "/list_models": self.list_models,
            "/list_multimodal_models": self.list_multimodal_models,
            "/list_language_models": self.list_language_models,
            "/get_worker_address": self.get_worker_address,
            "/receive_heart_beat": self.receive_heart_beat,
            "/worker_generate_stream": self.worker_generate_stream,
            "/worker_get_status": self.worker_get_status,
        }
        for path, endpoint in posts.items():
            router.add_api_route(path, endpoint, methods=["POST"], include_in_schema=False)
        router.add_api_route("/test_connection", self.test_connection, methods=["GET"], include_in_schema=False)
        return router

    async def register_worker(self, request: Request) -> Response:
        registration = await read_json(request, Registration)
        address = _address(registration.worker_name)
        status = registration.worker_status or await self._poll_named(address)
        hello = _hello(address, registration, status)
        lifetime = self._expiration if registration.check_heart_beat else float("inf")
        try:
            self._fleet.hello(0, hello, self._clock(), lifetime)
        except FleetFullError as error:
            raise OverloadedError(str(error)) from error
        self._fleet.set_queue_length(hello.address, status.queue_length, self._clock())
        log.info("FastChat worker %s is here: %s", hello.address, ", ".join(status.model_names))
        return _json(None)

    async def receive_heart_beat(self, request: Request) -> Response:
        beat = await read_json(request, HeartBeat)
        address = beat.worker_name.rstrip("/")
        return _json(Exist(self._fleet.set_queue_length(address, beat.queue_length, self._clock())))

    async def refresh_all_workers(self) -> Response:
        """Poll the old workers, all at once; ours need no poll, their links say how they are."""
        old = [w.address for w in self._fleet.registry.workers() if w.hello.protocol is Protocol.FASTCHAT]
        if not old:
            return _json(None)
        for address, status in zip(old, await asyncio.gather(*map(self._old_workers().poll, old)), strict=True):
            if status is None:
                log.info("FastChat worker %s does not answer and is gone", address)
                self._fleet.leave(0, address, self._clock())  # unless another kind of worker lives there by now
            else:
                self._fleet.set_queue_length(address, status.queue_length, self._clock())
        return _json(None)

    async def list_models(self) -> Response:
        return _json(Models(self._fleet.registry.models()))

    async def list_multimodal_models(self) -> Response:
        return _json(Models(self._models_by(multimodal=True)))

    async def list_language_models(self) -> Response:
        return _json(Models(self._models_by(multimodal=False)))

    async def get_worker_address(self, request: Request) -> Response:
        query = await read_json(request, ModelQuery)
        return _json(Chosen(self._fleet.choose(query.model, self._clock()) or ""))

    async def worker_get_status(self) -> Response:
        workers = list(self._fleet.registry.workers())
        return _json(
            WorkerStatus(
                self._fleet.registry.models(), sum(w.speed for w in workers), sum(worker.load for worker in workers)
            )
        )

    async def worker_generate_stream(self, request: Request) -> Response:
        """Relay to a worker's route of the same name: a controller can stand in for its workers."""
        body = await read_request(request, RELAY_LIMIT)
        query = decode_json(body, ModelQuery)
        address = self._fleet.choose(query.model, self._clock())
        if address is None:
            return Response(trouble_frame(NO_WORKER, f"no worker serves {query.model!r}"))
        return StreamingResponse(self._old_workers().relay(address, body))

    async def test_connection(self) -> Response:
        return _json("success")

    async def close(self) -> None:
        """End the connections to old workers."""
        if self._callers is not None:
            await self._callers.close()

    async def _poll_named(self, address: str) -> WorkerStatus:
        """The status of a worker that did not send it. Only a holder of the token may make us call an address
        that is not this machine's."""
        if not self._token.is_set and not is_loopback(urlsplit(address).hostname or ""):
            raise InvalidRequestError(
                "send worker_status: without a cluster token this controller calls no address that a caller names",
                param="worker_status",
            )
        status = await self._old_workers().poll(address)
        if status is None:
            raise WorkerFailedError(f"no worker answers at {address}/worker_get_status")
        return status

    def _old_workers(self) -> "OldWorkers":
        """Made on first use: its HTTP client would be a tenth of the memory of a controller without old workers."""
        if self._callers is None:
            from controller.old_workers import OldWorkers  # noqa: PLC0415

            self._callers = OldWorkers(self._token.headers())
        return self._callers

    def _models_by(self, *, multimodal: bool) -> list[str]:
        return sorted(_model_names(self._fleet.registry.workers(), multimodal=multimodal))


def _model_names(workers: Iterable[Worker], *, multimodal: bool) -> set[str]:
    return {model.name for w in workers for model in w.hello.models if model.multimodal is multimodal}


def _address(worker_name: str) -> str:
    """A worker's name as the address that it must be; some end with a slash. Raises InvalidRequestError."""
    try:
        return msgspec.convert(worker_name.rstrip("/"), Address)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"worker_name must be a URL without path: {error}", param="worker_name") from error


def _hello(address: str, registration: Registration, status: WorkerStatus) -> Hello:
    """The registration as our own record. Raises InvalidRequestError."""
    draft = Hello(
        address=address,
        models=[Model(name, multimodal=registration.multimodal) for name in status.model_names],
        engine="fastchat",
        speed=status.speed,
        protocol=Protocol.FASTCHAT,
    )
    try:
        return msgspec.convert(msgspec.to_builtins(draft), Hello)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"this worker cannot be registered: {error}") from error


def _json(body: object) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")
