"""FastChat's controller protocol, for old workers, old clients and its Gradio server: ten routes, same bodies.

Different from FastChat on purpose: malformed bodies get 400 instead of 500, ties are broken at random, counts go down
when requests end, nobody is polled while a client waits for a list, and no address is fetched because a stranger
named it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Annotated
from urllib.parse import urlsplit

import httpx
import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from msgspec import Meta

from baton.auth import ClusterToken, is_loopback
from baton.errors import InvalidRequestError, OverloadedError, WorkerFailedError
from baton.http import decode_json, read_body, read_json
from baton.wire import GARBLED, Address, Hello, Model, Protocol
from controller.fleet import Fleet, FleetFullError
from controller.registry import Worker

log = logging.getLogger(__name__)

POLL_TIMEOUT = 5.0  # seconds, as FastChat has it
RELAY_LIMIT = 32 << 20  # bytes of a request that is relayed
RELAY_TIMEOUT = httpx.Timeout(100.0)  # between two chunks, as FastChat has it
NO_WORKER, WORKER_TIMEOUT = 50005, 50006  # FastChat's error codes
TROUBLE = "**NETWORK ERROR DUE TO HIGH TRAFFIC. PLEASE REGENERATE OR REFRESH THIS PAGE.**"

Queue = Annotated[int, Meta(ge=0, le=1_000_000)]


class WorkerStatus(msgspec.Struct):
    model_names: list[str]
    speed: Annotated[float, Meta(gt=0, le=1e6)]
    queue_length: Queue


class Registration(msgspec.Struct):
    worker_name: str
    check_heart_beat: bool
    worker_status: WorkerStatus | None = None
    multimodal: bool = False


class HeartBeat(msgspec.Struct):
    worker_name: str
    queue_length: Queue


class Exist(msgspec.Struct):
    exist: bool


class ModelQuery(msgspec.Struct):
    model: str


class Chosen(msgspec.Struct):
    address: str


class Models(msgspec.Struct):
    models: list[str]


class Trouble(msgspec.Struct):
    text: str
    error_code: int


class FastChatRoutes:
    """The routes over one fleet. `client` calls old workers; `expiration` is their lifetime without a heartbeat."""

    def __init__(
        self,
        fleet: Fleet,
        token: ClusterToken,
        client: httpx.AsyncClient,
        clock: Callable[[], float],
        expiration: float,
    ) -> None:
        self._fleet = fleet
        self._token = token
        self._client = client
        self._clock = clock
        self._expiration = expiration

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
        for address, status in zip(old, await asyncio.gather(*map(self._poll, old)), strict=True):
            if status is None:
                log.info("FastChat worker %s does not answer and is gone", address)
                self._fleet.drop(address, self._clock())
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
        body = await read_body(request, RELAY_LIMIT)
        query = decode_json(body, ModelQuery)
        address = self._fleet.choose(query.model, self._clock())
        if address is None:
            return Response(_frame(NO_WORKER, f"no worker serves {query.model!r}"))
        return StreamingResponse(self._relay(address, body))

    async def test_connection(self) -> Response:
        return _json("success")

    async def _relay(self, address: str, body: bytes) -> AsyncIterator[bytes]:
        url = f"{address}/worker_generate_stream"
        headers = {"content-type": "application/json", **self._token.headers()}
        try:
            async with self._client.stream("POST", url, content=body, headers=headers, timeout=RELAY_TIMEOUT) as reply:
                reply.raise_for_status()
                async for part in reply.aiter_raw():
                    yield part
        except httpx.HTTPError as error:
            log.warning("relay to %s failed: %s", address, error or type(error).__name__)
            yield _frame(WORKER_TIMEOUT, "the worker failed")

    async def _poll_named(self, address: str) -> WorkerStatus:
        """The status of a worker that did not send it. Only a holder of the token may make us call an address
        that is not this machine's."""
        if not self._token.is_set and not is_loopback(urlsplit(address).hostname or ""):
            raise InvalidRequestError(
                "send worker_status: without a cluster token this controller calls no address that a caller names",
                param="worker_status",
            )
        status = await self._poll(address)
        if status is None:
            raise WorkerFailedError(f"no worker answers at {address}/worker_get_status")
        return status

    async def _poll(self, address: str) -> WorkerStatus | None:
        try:
            reply = await self._client.post(f"{address}/worker_get_status", timeout=POLL_TIMEOUT)
            reply.raise_for_status()
            return msgspec.json.decode(reply.content, type=WorkerStatus)
        except (httpx.HTTPError, httpx.InvalidURL, *GARBLED) as error:
            log.info("poll of %s failed: %s", address, error or type(error).__name__)
            return None

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


def _frame(code: int, detail: str) -> bytes:
    return msgspec.json.encode(Trouble(f"{TROUBLE}\n\n({detail})", code)) + b"\0"


def _json(body: object) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")
