"""The worker's HTTP application: the routes, who may call them, and how errors leave."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baton.auth import ClusterToken
from baton.http import EXCEPTION_HANDLERS, Door
from workers.about import About
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
