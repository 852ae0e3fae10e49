"""What the tests of all processes share: an app on a real port, and waiting for a condition with a bound."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn


async def until(condition: Callable[[], object], within: float = 5.0) -> None:
    """Return once the condition holds; fail when it does not within that many seconds."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.005)


def free_port() -> int:
    """A port at which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def running(app: Callable[..., Any], port: int = 0) -> AsyncIterator[str]:
    """The app under uvicorn, as `baton.serve` runs it; gives its base URL."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        http="httptools",
        ws="websockets-sansio",
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()  # without its main loop, which would look only ten times a second whether to stop
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        await _end(server)


async def _end(server: uvicorn.Server) -> None:
    """What uvicorn's own shutdown does, without its pauses of a tenth of a second."""
    state = server.server_state
    for listener in server.servers:
        listener.close()
    for connection in list(state.connections):
        connection.shutdown()
    try:
        await until(lambda: not state.connections and not state.tasks, within=1)
    except AssertionError:
        for task in state.tasks:
            task.cancel()
    await server.lifespan.shutdown()
