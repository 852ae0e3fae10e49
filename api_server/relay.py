"""A request's life in the API server, from its bytes to its bytes.

1. The key is checked, the body read (bounded), and the few fields that matter here are taken from it.
2. A worker is chosen on the replica; its in-flight count goes up until the request ends, however it ends.
3. The body goes to the worker as it came. Until the first byte of an answer another worker may take over.
4. A whole reply is passed on in one piece; a stream event by event, so that it never ends in half an event.
5. A client that leaves ends the request at the worker.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from api_server.connection import UpstreamError, UpstreamSilentError
from api_server.keys import REFUSAL, ApiKeys
from api_server.replica import RETRY_AFTER, Replica
from api_server.request import read_fields, request_id_of
from api_server.upstream import Reply, Upstream
from baton.auth import ClusterToken
from baton.body import ClientLeftError, read_body
from baton.errors import (
    BatonError,
    InternalError,
    InvalidApiKeyError,
    NoWorkerError,
    OverloadedError,
    WorkerFailedError,
    WorkerTimeoutError,
)
from baton.sse import DONE, EventSplitter, event
from baton.wire import VIA_HEADER
from controller.registry import Worker

log = logging.getLogger(__name__)

EVENT_LIMIT = 16 << 20  # bytes of one event of a stream
REPLY_LIMIT = 64 << 20  # bytes of a whole reply, which is held until it is complete


@dataclass(slots=True)
class Call:
    """One request under way."""

    path: bytes
    request_id: bytes
    model: str
    body: bytes
    send: Send
    started: bool = False  # whether the client has got the head of an answer


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a relay; see the settings of the same names."""

    max_attempts: int
    max_body_bytes: int


class Relay:
    """An ASGI app for the generating routes: POST only, path and body go to a worker unchanged."""

    def __init__(
        self, replica: Replica, upstream: Upstream, keys: ApiKeys, token: ClusterToken, limits: Limits, name: str
    ) -> None:
        self._replica = replica
        self._upstream = upstream
        self._keys = keys
        self._limits = limits
        lines = {"content-type": "application/json", VIA_HEADER: name, **token.headers()}
        self._head = "".join(f"{key}: {value}\r\n" for key, value in lines.items()).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        request_id = request_id_of(headers)
        call = None
        try:
            self._admit(headers)
            body = await read_body(headers, receive, self._limits.max_body_bytes)
            fields = read_fields(body)
            call = Call(scope["path"].encode(), request_id, fields.model, body, send)
            await _until_disconnect(self._serve(call), receive)
        except BatonError as error:
            await self._refuse(error, call, request_id, send)
        except ClientLeftError:
            log.info("request %s: the client left before its body was whole", request_id.decode())
        except Exception:  # the outermost border of a request: a bug must not leave a client without an answer
            log.exception("bug in request %s", request_id.decode())
            bug = InternalError("The server failed on this request; its log has the details.")
            await self._refuse(bug, call, request_id, send)

    def _admit(self, headers: dict[bytes, bytes]) -> None:
        authorization = headers.get(b"authorization")
        if not self._keys.admits(authorization.decode("latin-1") if authorization else None):
            raise InvalidApiKeyError(REFUSAL)

    async def _serve(self, call: Call) -> None:
        """Try workers until one answers. Raises BatonError when none does."""
        tried: list[Worker] = []
        failure: BatonError | None = None
        while len(tried) < self._limits.max_attempts:
            try:
                worker = self._replica.choose(call.model, tried, time.monotonic())
            except BatonError as error:
                raise failure or error from None
            tried.append(worker)
            worker.mine += 1
            try:
                failure = await self._attempt(call, worker)
            finally:
                worker.mine -= 1
            if failure is None:
                return
            log.warning(
                "request %s, worker %s: %s", call.request_id.decode(), worker.address, failure.__cause__ or failure
            )
        raise failure or InternalError("no attempt was allowed")

    async def _attempt(self, call: Call, worker: Worker) -> BatonError | None:
        """One worker's turn: None when the client has its answer, else why another one may try."""
        try:
            with await self._upstream.post(worker.address, self._request_head(call, worker), call.body) as reply:
                if reply.status >= 500 or reply.status in (401, 403):
                    return await _refused(reply)
                if reply.header(b"content-type").startswith(b"text/event-stream"):
                    await _pass_stream(call, reply)
                else:
                    await _pass_whole(call, reply)
        except UpstreamError as error:
            if call.started:
                log.warning("request %s, worker %s: %s", call.request_id.decode(), worker.address, error)
                raise _failed(error) from error
            if not isinstance(error, UpstreamSilentError):
                self._replica.suspect(worker, time.monotonic())
            failure = _failed(error)
            failure.__cause__ = error
            return failure
        return None

    def _request_head(self, call: Call, worker: Worker) -> bytes:
        host = worker.address.partition("://")[2].encode()
        return b"POST %b HTTP/1.1\r\nhost: %b\r\nx-request-id: %b\r\n%b" % (
            call.path,
            host,
            call.request_id,
            self._head,
        )

    async def _refuse(self, error: BatonError, call: Call | None, request_id: bytes, send: Send) -> None:
        """Tell the client of an error: as a response, or as the last event of a stream that has begun."""
        if call is not None and call.started:
            await send({"type": "http.response.body", "body": event(error.body()) + DONE})
            return
        headers = [(key.encode(), value.encode()) for key, value in error.headers().items()]
        body = error.body()
        headers += [(b"content-length", b"%d" % len(body)), (b"x-request-id", request_id)]
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _pass_whole(call: Call, reply: Reply) -> None:
    """Hold a reply until it is complete: if its worker dies before that, another one can still answer."""
    body = await reply.read_all(REPLY_LIMIT)
    headers = [(b"content-length", b"%d" % len(body)), *_kept_headers(call, reply)]
    call.started = True
    await call.send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await call.send({"type": "http.response.body", "body": body})


async def _pass_stream(call: Call, reply: Reply) -> None:
    """Pass whole events on as they come."""
    splitter = EventSplitter()
    while data := await reply.read():
        events = splitter.feed(data)
        if splitter.waiting > EVENT_LIMIT:
            raise UpstreamError(f"an event is larger than {EVENT_LIMIT} bytes")
        if not events:
            continue
        if not call.started:
            call.started = True
            headers = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"), *_kept_headers(call, reply)]
            await call.send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await call.send({"type": "http.response.body", "body": events, "more_body": True})
    if not call.started:
        raise UpstreamError("the stream was empty")
    await call.send({"type": "http.response.body", "body": splitter.rest()})


def _kept_headers(call: Call, reply: Reply) -> list[tuple[bytes, bytes]]:
    """The head of an answer: few of the worker's headers concern the client."""
    kept = [(b"content-type", reply.header(b"content-type") or b"application/json"), (b"x-request-id", call.request_id)]
    if retry_after := reply.header(b"retry-after"):
        kept.append((b"retry-after", retry_after))
    return kept


async def _refused(reply: Reply) -> BatonError:
    """Why a worker would not: its own words stay in our log, the client gets ours."""
    body = await reply.read_all(REPLY_LIMIT)
    said = body[:500].decode("utf-8", "replace")
    failure: BatonError
    if reply.status == OverloadedError.status:
        after = reply.header(b"retry-after")
        seconds = int(after) if after.isdigit() else RETRY_AFTER
        if f'"{NoWorkerError.code}"'.encode() in body:  # it drains or loads
            failure = NoWorkerError("No worker can serve this model right now; try again.", retry_after=seconds)
        else:
            failure = OverloadedError("All workers of this model are busy; try again.", retry_after=seconds)
    else:
        failure = WorkerFailedError("The worker failed on this request.")
    failure.__cause__ = UpstreamError(f"status {reply.status}: {said}")
    return failure


def _failed(error: UpstreamError) -> BatonError:
    if isinstance(error, UpstreamSilentError):
        return WorkerTimeoutError("The worker did not answer in time.")
    return WorkerFailedError("The connection to the worker was lost.", retry_after=RETRY_AFTER)


async def _until_disconnect(work: Coroutine[None, None, None], receive: Receive) -> None:
    """Do `work`, unless the client leaves first: then it is cancelled, and with it what runs at the worker."""
    task = asyncio.current_task()
    left = False

    async def listen() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        if task is not None:
            task.cancel()

    listener = asyncio.create_task(listen())
    try:
        await work
    except asyncio.CancelledError:
        if not left or task is None:
            raise
        task.uncancel()
    finally:
        listener.cancel()
