"""One worker process from start to end: serve at once, load meanwhile, join the fleet, drain, stop."""

import asyncio
import logging
import random
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from baton.auth import ClusterToken, cluster_token, is_loopback
from baton.serve import listen, serve, url_of
from workers.address import announced, route_to
from workers.admission import Ticket
from workers.app import create_app
from workers.engines.base import Engine, EngineError, UnloadableError
from workers.link import Link
from workers.presence import Presence
from workers.settings import WorkerSettings, check
from workers.slots import Slots
from workers.worker import Chance, Worker

log = logging.getLogger(__name__)

FAILED = 1  # exit codes: to be started again …
UNLOADABLE = 3  # … and not, as it would not help; supervisord's files name it


async def run(name: str, settings: WorkerSettings, build: Callable[[Any], Engine]) -> int:
    """Run a worker with the engine `name` until it is told to stop.

    Returns the exit code. Raises SettingsError.
    """
    check(settings)
    token = cluster_token(settings)
    with listen(settings) as listener:
        controllers = settings.controller_address if settings.register else ()
        address = ""
        if controllers:
            listening = url_of(listener, settings)
            address = announced(settings.worker_address, settings.host, listening, controllers[0], route_to)
            _warn_of_loopback(address, controllers)
        worker = make_worker(settings, build(settings))
        speaker = Presence(worker, address, name)
        links = [
            Link(controller, token.headers(), speaker, worker.bell.watch(), rng=random.Random())
            for controller in controllers
        ]
        return await _live(worker, links, settings, token, listener)


def _warn_of_loopback(address: str, controllers: Sequence[str]) -> None:
    """The commonest way to have a worker in a fleet's list that nobody can reach."""
    here = is_loopback(urlsplit(address).hostname or "")
    elsewhere = [url for url in controllers if not is_loopback(urlsplit(url).hostname or "")]
    if here and elsewhere:
        log.warning(
            "this worker is reached as %s, from this machine only, while its controller is %s: "
            "pass --host 0.0.0.0 (and set BATON_CLUSTER_TOKEN) if the fleet has other machines",
            address,
            elsewhere[0],
        )


def make_worker(settings: WorkerSettings, engine: Engine) -> Worker:
    seeds = None if settings.seed is None else random.Random(settings.seed)
    slots = Slots[Ticket](settings.limit_worker_concurrency, settings.max_waiting)
    return Worker(dict.fromkeys(settings.names(), engine), slots, Chance(seeds=seeds), settings.speed)


async def _live(
    worker: Worker, links: list[Link], settings: WorkerSettings, token: ClusterToken, listener: socket.socket
) -> int:
    """Serve until told to stop, and load meanwhile. Returns the exit code."""
    app = create_app(worker, token, settings.max_body_bytes)
    async with asyncio.TaskGroup() as group:
        loading = group.create_task(_load(worker))
        others = [loading, *(group.create_task(link.run()) for link in links)]
        try:
            served = await serve(app, listener, settings, drain=lambda: worker.drain(settings.drain_timeout))
        finally:
            for task in others:
                task.cancel()
            await worker.stop()
    return served if loading.cancelled() else loading.result() or served


async def _load(worker: Worker) -> int:
    """The exit code that loading asks for. A failure ends the process as a signal does: there is one way to stop."""
    code = FAILED
    try:
        await worker.load()
    except UnloadableError as error:
        log.error("cannot load the model: %s", error)  # noqa: TRY400 - a sentence for the operator, no stack
        code = UNLOADABLE
    except EngineError as error:
        log.error("cannot load the model: %s", error)  # noqa: TRY400
    except Exception:
        log.exception("a bug in loading the model")
    else:
        log.info("ready: %s", ", ".join(worker.engines))
        return 0
    signal.raise_signal(signal.SIGTERM)
    return code
