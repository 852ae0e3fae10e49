"""Run an ASGI app under uvicorn: the listening socket, TLS, signals, drain.

Life cycle: listen → serve → (SIGTERM) drain → close the listener → let requests finish, for a bounded time → end.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import uvicorn

from baton.background import FAILED
from baton.settings import ServeSettings, SettingsError

log = logging.getLogger(__name__)

AsgiApp: TypeAlias = Callable[..., Any]

BACKLOG = 4096
GRACE = 30  # seconds that open requests get once the listener is closed
KEEP_ALIVE = 75  # seconds that an idle connection stays open; longer than any client of ours reuses one


def listen(settings: ServeSettings) -> socket.socket:
    """The bound socket of a process. Raises SettingsError when the address cannot be had."""
    if not 0 <= settings.port <= 65535:
        raise _not_to_be_had(settings, "ports end at 65535")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, UnicodeError) as error:
        raise _not_to_be_had(settings, error) from error
    return listener


def url_of(listener: socket.socket, settings: ServeSettings) -> str:
    """The base URL at which a listening socket is reached from its own machine."""
    host = settings.host if ":" not in settings.host else f"[{settings.host}]"
    return f"{'https' if settings.ssl else 'http'}://{host}:{listener.getsockname()[1]}"


class Server(uvicorn.Server):
    """uvicorn, with signals left to `serve` (its own handling raises the signal again after shutdown)."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def nothing() -> None:
    """The drain of a process that has nothing to wait for."""


async def serve(
    app: AsgiApp, listener: socket.socket, settings: ServeSettings, drain: Callable[[], Awaitable[None]] = nothing
) -> int:
    """Serve until SIGTERM or SIGINT; then `drain`, close the listener and finish. A second signal ends at once.

    Returns the exit code: 0, or 1 where a part of the process failed (`baton.background`).
    """
    server = Server(_config(app, settings))
    stopping = asyncio.Event()
    code = 0

    def on_failure() -> None:
        nonlocal code
        code = 1
        stopping.set()

    def on_signal() -> None:
        if stopping.is_set():
            server.force_exit = server.should_exit = True
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    loop.add_signal_handler(FAILED, on_failure)

    async def stop_when_told() -> None:
        await stopping.wait()
        log.info("stopping: no new work, open requests finish")
        try:
            await drain()
        except Exception:  # whatever it was, the process must still end
            log.exception("the drain failed")
            on_failure()
        finally:
            server.should_exit = True

    try:
        listener.listen(BACKLOG)
    except OSError as error:  # bound by two, and the other one was the first to listen
        raise _not_to_be_had(settings, error) from error
    log.info("listening on %s", url_of(listener, settings))
    stopper = asyncio.create_task(stop_when_told())
    try:
        await server.serve(sockets=[listener])
    finally:
        stopper.cancel()
        await asyncio.gather(stopper, return_exceptions=True)
    log.info("stopped")
    return code


def _not_to_be_had(settings: ServeSettings, cause: Exception | str) -> SettingsError:
    said = cause.strerror if isinstance(cause, OSError) else str(cause)
    return SettingsError(
        f"cannot listen on {settings.host}:{settings.port}: {said}. Choose another --port or --host, or "
        "stop the process that holds it."
    )


def _config(app: AsgiApp, settings: ServeSettings) -> uvicorn.Config:
    if settings.ssl and not (Path(settings.ssl_keyfile).is_file() and Path(settings.ssl_certfile).is_file()):
        raise SettingsError("--ssl needs SSL_KEYFILE and SSL_CERTFILE in the environment: the paths of two PEM files")
    return uvicorn.Config(
        app,
        http="httptools",
        ws="websockets-sansio",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=GRACE,
        ssl_keyfile=settings.ssl_keyfile if settings.ssl else None,
        ssl_certfile=settings.ssl_certfile if settings.ssl else None,
    )
