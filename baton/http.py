"""What every app of Baton has: OpenAI-shaped errors, a door that asks for a secret, bounded JSON bodies."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from baton.body import ClientLeftError, read_body
from baton.errors import (
    BatonError,
    InternalError,
    InvalidApiKeyError,
    InvalidJsonError,
    InvalidRequestError,
    MethodNotAllowedError,
    RouteNotFoundError,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

CLIENT_LEFT = 499  # nobody sees it; nginx made the number known


def answer(error: BatonError) -> Response:
    """The response that tells a client of an error."""
    return Response(error.body(), error.status, error.headers())


async def on_our_error(_: Request, error: Exception) -> Response:
    return answer(error if isinstance(error, BatonError) else InternalError("internal error"))


async def on_routing_error(request: Request, error: Exception) -> Response:
    """Unknown routes and methods, which Starlette finds."""
    asked = f"{request.method} {request.scope['path']}"
    if not isinstance(error, HTTPException) or error.status_code != MethodNotAllowedError.status:
        return answer(RouteNotFoundError(f"there is no route {asked}"))
    response = answer(MethodNotAllowedError(f"{asked} is not allowed: this route takes other methods"))
    response.headers.update(error.headers or {})
    return response


async def on_client_left(_: Request, __: Exception) -> Response:
    return Response(status_code=CLIENT_LEFT)


async def on_bug(request: Request, error: Exception) -> Response:
    """A fault of ours: the stack trace goes to the log, not to the client."""
    log.error("bug in %s %s", request.method, request.scope["path"], exc_info=error)
    return answer(InternalError("The server failed on this request; its log has the details."))


# Every app of Baton is made with this table.
EXCEPTION_HANDLERS: Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    BatonError: on_our_error,
    HTTPException: on_routing_error,
    ClientLeftError: on_client_left,
    Exception: on_bug,
}


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
    return decode_json(await read_request(request, limit), shape)


async def read_request(request: Request, limit: int) -> bytes:
    """A request's JSON body; see `baton.body.read_body`."""
    return await read_body(dict(request.scope["headers"]), request.receive, limit)


def decode_json(body: bytes, shape: type[T]) -> T:
    """A body as `shape`. Raises InvalidJsonError, InvalidRequestError."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJsonError(f"the body is not JSON: {error}") from error
