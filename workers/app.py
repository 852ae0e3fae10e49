"""The worker's HTTP application: the routes, who may call them, and how errors leave."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from baton.auth import ClusterToken
from baton.errors import BatonError, InternalError, MethodNotAllowedError, RouteNotFoundError
from baton.http import Door, answer
from workers.about import About
from workers.answering import CLIENT_GONE
from workers.chat import ChatCompletions
from workers.completions import Completions
from workers.fastchat import FastChat
from workers.worker import Worker

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

REFUSAL = "This worker takes requests with its fleet's cluster token only."
OPEN_PATHS = frozenset(("/health", "/ready"))  # for load balancers and supervisors, which have no token


def create_app(worker: Worker, token: ClusterToken, body_limit: int) -> Starlette:
    """The application of one worker."""
    about = About(worker)
    routes: Mapping[tuple[str, str], Handler] = {
        ("POST", "/v1/chat/completions"): ChatCompletions(worker, body_limit).handle,
        ("POST", "/v1/completions"): Completions(worker, body_limit).handle,
        ("GET", "/v1/models"): about.models,
        ("GET", "/v1/models/{name:path}"): about.model,
        ("GET", "/health"): about.health,
        ("GET", "/ready"): about.ready,
        ("GET", "/version"): about.version,
        **{("POST", path): handler for path, handler in FastChat(worker, body_limit).routes().items()},
    }
    app = Starlette(
        routes=[Route(path, handler, methods=[method]) for (method, path), handler in routes.items()],
        middleware=[Middleware(Door, secret=token, open_paths=OPEN_PATHS, refusal=REFUSAL)],
        exception_handlers=EXCEPTION_HANDLERS,
    )
    app.router.redirect_slashes = False  # a redirect would be built from the Host header
    return app


async def on_baton_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, BatonError)  # noqa: S101 - the table below says so
    return answer(error)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own: unknown routes and methods."""
    assert isinstance(error, HTTPException)  # noqa: S101
    what = f"{request.method} {request.scope['path']}"
    if error.status_code == 405:
        response = answer(MethodNotAllowedError(f"{what} does not exist: this route takes other methods."))
        response.headers.update(error.headers or {})
        return response
    if error.status_code == 404:
        return answer(RouteNotFoundError(f"{what} does not exist."))
    return answer(InternalError("The request could not be answered."))


async def on_disconnect(_: Request, __: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


async def on_fault(_: Request, __: Exception) -> Response:
    """A fault of ours; the stack trace goes to the log, not to the client."""
    return answer(InternalError("This worker made a mistake; its log says more."))


EXCEPTION_HANDLERS: Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    BatonError: on_baton_error,
    HTTPException: on_http_exception,
    ClientDisconnect: on_disconnect,
    Exception: on_fault,
}
