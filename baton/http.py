"""What every FastAPI app of Baton has: OpenAI-shaped errors, a door that asks for a secret, bounded JSON bodies."""

import logging
from collections.abc import Iterable
from typing import Protocol, TypeVar

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from baton.errors import (
    BatonError,
    BodyTooLargeError,
    InternalError,
    InvalidApiKeyError,
    InvalidJsonError,
    InvalidRequestError,
    MethodNotAllowedError,
    RouteNotFoundError,
    UnsupportedMediaTypeError,
)

log = logging.getLogger(__name__)

T = TypeVar("T")


def answer(error: BatonError) -> Response:
    """The response that tells a client of an error."""
    return Response(error.body(), error.status, error.headers())


def answer_errors(app: FastAPI) -> None:
    """Give every failure of an app OpenAI's body: our own errors, unknown routes and methods, and bugs."""

    async def ours(_: Request, error: Exception) -> Response:
        return answer(error) if isinstance(error, BatonError) else answer(InternalError("internal error"))

    async def routing(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        method, path = request.method, request.scope["path"]
        if status == MethodNotAllowedError.status:
            return answer(MethodNotAllowedError(f"{method} is not allowed on {path}"))
        return answer(RouteNotFoundError(f"there is no route {method} {path}"))

    async def bug(request: Request, error: Exception) -> Response:
        log.error("bug in %s %s", request.method, request.scope["path"], exc_info=error)
        return answer(InternalError("The server failed on this request; its log has the details."))

    async def left(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it: the client left within its body

    app.add_exception_handler(ClientDisconnect, left)
    app.add_exception_handler(BatonError, ours)
    app.add_exception_handler(HTTPException, routing)
    app.add_exception_handler(Exception, bug)


class Secret(Protocol):
    """A cluster token or a set of API keys."""

    def admits(self, authorization: str | None) -> bool: ...


class Door:
    """ASGI middleware: only who shows the secret passes, except on the paths left open.

    It decides on the path of the request itself, never on a URL that the Host header had a part in. WebSockets with
    an Origin come from a page in a browser, which no rule of browsers keeps from other sites' sockets: refused.
    """

    def __init__(self, app: ASGIApp, secret: Secret, open_paths: Iterable[str], refusal: str) -> None:
        self._app = app
        self._secret = secret
        self._open = frozenset(open_paths)
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in self._open or self._known(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await answer(InvalidApiKeyError(self._refusal))(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": self._refusal})

    def _known(self, scope: Scope) -> bool:
        headers = HTTPConnection(scope).headers
        if scope["type"] == "websocket" and "origin" in headers:
            return False
        return self._secret.admits(headers.get("authorization"))


async def read_json(request: Request, shape: type[T], limit: int = 1 << 20) -> T:
    """A request's JSON body as `shape`, of at most `limit` bytes. Raises as its two halves do."""
    return decode_json(await read_body(request, limit), shape)


async def read_body(request: Request, limit: int) -> bytes:
    """A request's JSON body, of at most `limit` bytes.

    Raises UnsupportedMediaTypeError (a page in a browser can post other types, or none, across origins),
    BodyTooLargeError.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaTypeError("send JSON, with the header `content-type: application/json`")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise BodyTooLargeError(f"the body is larger than the {limit} bytes that this route takes")
    return bytes(body)


def decode_json(body: bytes, shape: type[T]) -> T:
    """A body as `shape`. Raises InvalidJsonError, InvalidRequestError."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJsonError(f"the body is not JSON: {error}") from error
