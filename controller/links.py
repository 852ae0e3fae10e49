"""The worker link: one WebSocket per worker. Open = alive, closed = gone at once."""

import asyncio
import itertools
import logging
from collections.abc import Callable

from fastapi import WebSocket, WebSocketDisconnect

from baton.wire import GARBLED, FromWorker, Hello, Status, decode_from_worker
from controller.fleet import Fleet, FleetFullError

log = logging.getLogger(__name__)

UNREADABLE = 1003  # WebSocket close code: the peer sent what we cannot take
TRY_LATER = 1013
INTRODUCTION = 10.0  # seconds that a worker has to say who it is


class Links:
    """Serves `/link`. Every link has a number of its own, by which the fleet knows who may change a record."""

    def __init__(self, fleet: Fleet, clock: Callable[[], float]) -> None:
        self._fleet = fleet
        self._clock = clock
        self._numbers = itertools.count(1)

    async def serve(self, socket: WebSocket) -> None:
        """Follow one worker until its link closes."""
        await socket.accept()
        number = next(self._numbers)
        address = ""
        try:
            async with asyncio.timeout(INTRODUCTION):
                hello, status = await _introduction(socket)
            address = hello.address
            log.info("worker %s is here: %s", address, ", ".join(model.name for model in hello.models))
            self._fleet.hello(number, hello, self._clock())
            self._take(number, address, status)
            while True:
                self._take(number, address, decode_from_worker(await receive(socket)))
        except WebSocketDisconnect:
            pass  # the usual end: the worker stopped, died, or lost its network
        except (*GARBLED, _BrokenLinkError) as error:
            log.warning("link of %s closed: %s", address or "an unnamed worker", error)
            await socket.close(UNREADABLE, str(error)[:120])
        except TimeoutError:
            await socket.close(UNREADABLE, f"no hello and status within {INTRODUCTION:g} s")
        except FleetFullError as error:
            log.warning("%s", error)
            await socket.close(TRY_LATER, str(error))
        finally:
            if address and self._fleet.owns(number, address):
                log.info("worker %s is gone", address)
                self._fleet.leave(number, address, self._clock())

    def _take(self, number: int, address: str, message: FromWorker) -> None:
        """Apply one message of the link that speaks for `address`."""
        if isinstance(message, Hello):
            if message.address != address:
                raise _BrokenLinkError(f"a link speaks for one worker: {address}, not {message.address}")
            self._fleet.hello(number, message, self._clock())
        elif not self._fleet.status(number, address, message, self._clock()):
            if self._fleet.registry.get(address) is None:
                raise _BrokenLinkError("silent for too long: say hello again, on a new link")
            raise _BrokenLinkError(
                f"another worker registered as {address}: give each worker its own --port or --worker-address"
            )


async def _introduction(socket: WebSocket) -> tuple[Hello, Status]:
    """The first two messages. A worker is not known before both: without a status it might get work while it loads."""
    hello = decode_from_worker(await receive(socket))
    if not isinstance(hello, Hello):
        raise _BrokenLinkError("the first message must be a hello")
    status = decode_from_worker(await receive(socket))
    if not isinstance(status, Status):
        raise _BrokenLinkError("the second message must be a status")
    return hello, status


async def receive(socket: WebSocket) -> str | bytes:
    """The next message, in a text frame or a binary one. Raises WebSocketDisconnect."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message["code"], message.get("reason"))
    data: str | bytes = message["text"] if message.get("text") is not None else message["bytes"]
    return data


class _BrokenLinkError(Exception):
    """The peer does not keep to the protocol. The text is told to it."""
