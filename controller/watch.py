"""The watch: API servers follow the registry over a WebSocket and tell what they have under way."""

import asyncio
import itertools
import logging

from fastapi import WebSocket, WebSocketDisconnect

from baton.wire import GARBLED, Changed, Gone, decode_in_flight, encode
from controller.fleet import Fleet
from controller.links import receive

log = logging.getLogger(__name__)


class Watcher:
    """One API server's place in the stream of changes: only *which* workers changed is kept, so it is bounded."""

    def __init__(self) -> None:
        self.dirty: dict[str, None] = {}
        self.wake = asyncio.Event()

    def touch(self, address: str) -> None:
        self.dirty[address] = None
        self.wake.set()


class Watchers:
    """Serves `/watch`."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._watchers: dict[int, Watcher] = {}

    def __len__(self) -> int:
        return len(self._watchers)

    def touch(self, address: str) -> None:
        """Tell every API server, soon, of a worker's new state."""
        for watcher in self._watchers.values():
            watcher.touch(address)

    async def serve(self, socket: WebSocket, fleet: Fleet) -> None:
        """Feed one API server until it goes."""
        await socket.accept()
        number = next(self._numbers)
        watcher = self._watchers[number] = Watcher()
        log.info("an API server watches (%d now)", len(self._watchers))
        try:
            async with asyncio.TaskGroup() as tasks:
                feeding = tasks.create_task(_feed(socket, fleet, number, watcher))
                await _listen(socket, fleet, number)
                feeding.cancel()
        finally:
            del self._watchers[number]
            fleet.in_flight(number, {})
            log.info("an API server left (%d now)", len(self._watchers))


async def _feed(socket: WebSocket, fleet: Fleet, number: int, watcher: Watcher) -> None:
    try:
        await socket.send_text(encode(fleet.snapshot(number)).decode())
        while True:
            await watcher.wake.wait()
            watcher.wake.clear()
            dirty, watcher.dirty = watcher.dirty, {}
            for address in dirty:
                view = fleet.view(number, address)
                message = Changed(view) if view is not None else Gone(address)
                await socket.send_text(encode(message).decode())
    except WebSocketDisconnect:
        return  # `_listen` sees the same end


async def _listen(socket: WebSocket, fleet: Fleet, number: int) -> None:
    try:
        while True:
            fleet.in_flight(number, decode_in_flight(await receive(socket)).counts)
    except WebSocketDisconnect:
        return
    except GARBLED as error:
        log.warning("watch closed: %s", error)
        await socket.close(1003, str(error)[:120])
