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
from workers.engines.base import Engine, EngineError
from workers.link import Link
from workers.presence import Presence
from workers.settings import WorkerSettings, check
from workers.slots import Slots
from workers.worker import Chance, Worker

log = logging.getLogger(__name__)

LOAD_FAILED = 3  # exit code; supervisord's files name it: starting again would not help


async def run(name: str, settings: WorkerSettings, build: Callable[[Any], Engine]) -> None:
    """Run a worker with the engine `name` until it is told to stop.

    Raises SettingsError, and SystemExit where the model cannot be loaded.
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
        if not await _live(worker, links, settings, token, listener):
            raise SystemExit(LOAD_FAILED)


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
) -> bool:
    """Whether the worker's life ended well."""
    app = create_app(worker, token, settings.max_body_bytes)
    async with asyncio.TaskGroup() as group:
        loading = group.create_task(_load(worker))
        others = [loading, *(group.create_task(link.run()) for link in links)]
        try:
            await serve(app, listener, settings, drain=lambda: worker.drain(settings.drain_timeout))
        finally:
            for task in others:
                task.cancel()
            await worker.stop()
    return loading.cancelled() or loading.result()


async def _load(worker: Worker) -> bool:
    """Whether the model is there. A failure ends the process the way a signal does: there is one way to stop."""
    try:
        await worker.load()
    except EngineError as error:
        log.error("cannot load the model: %s", error)  # noqa: TRY400 - a sentence for the operator, no stack
        signal.raise_signal(signal.SIGTERM)
        return False
    log.info("ready: %s", ", ".join(worker.engines))
    return True
