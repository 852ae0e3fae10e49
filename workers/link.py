"""The link to a controller: says who this worker is and what it does, for as long as the worker lives.

Connects again after every loss, with growing pauses; one line is logged per outage, not per try.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from baton.backoff import Backoff
from baton.wire import LINK_PATH, STATUS_COALESCE, STATUS_INTERVAL, Hello, State, Status, encode
from workers.race import LostError, race

log = logging.getLogger(__name__)

PING = 10.0  # seconds after which a connection without an answer counts as lost
STEADY = STATUS_INTERVAL  # seconds after which a connection counts as a success


class Speaker(Protocol):
    """Whose words go over the link."""

    def hello(self) -> Hello: ...

    def status(self) -> Status: ...


class Link:
    """One worker's connection to one controller. `changed` is set by the worker whenever it has news."""

    def __init__(
        self,
        controller: str,
        headers: Mapping[str, str],
        speaker: Speaker,
        changed: asyncio.Event,
        *,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._controller = controller.rstrip("/")
        self._headers = headers
        self._speaker = speaker
        self._changed = changed
        self._backoff = Backoff(rng)
        self._clock = clock
        self._told = ""  # what the log said last

    async def run(self) -> None:
        """Keep the link up until cancelled."""
        while True:
            try:
                await self._connected()
            except (OSError, WebSocketException, TimeoutError, LostError) as error:
                self._tell(logging.WARNING, f"no link to the controller {self._controller}: {_trouble(error)}")
            await asyncio.sleep(self._backoff.next())

    async def _connected(self) -> None:
        url = "ws" + self._controller.removeprefix("http") + LINK_PATH
        async with connect(
            url,
            additional_headers=self._headers,
            proxy=None,
            open_timeout=5,
            close_timeout=1,
            ping_interval=PING,
            ping_timeout=PING,
        ) as socket:
            await race(self._speak(socket.send), _listen(socket))

    async def _speak(self, send: Callable[[str], Awaitable[None]]) -> None:
        said: Hello | None = None
        began = self._clock()
        while True:
            self._changed.clear()
            hello, status = self._speaker.hello(), self._speaker.status()
            if hello != said:
                await send(encode(hello).decode())
                said = hello
            await send(encode(status).decode())
            if self._clock() - began >= STEADY:
                self._backoff.reset()
                self._tell(logging.INFO, f"in the fleet of {self._controller}")
            await self._next(self._clock(), status.state)

    async def _next(self, sent: float, state: State) -> None:
        """Wait until there is news old enough to go out, or it is time anyway. A new state goes out at once."""
        try:
            async with asyncio.timeout(STATUS_INTERVAL):
                await self._changed.wait()
                while self._speaker.status().state == state and (left := sent + STATUS_COALESCE - self._clock()) > 0:
                    self._changed.clear()
                    async with asyncio.timeout(left):
                        await self._changed.wait()
        except TimeoutError:
            pass

    def _tell(self, level: int, news: str) -> None:
        if news != self._told:
            log.log(level, "%s", news)
            self._told = news


async def _listen(socket: ClientConnection) -> None:
    """Reads what comes, so that pings are answered and a lost connection is noticed at once."""
    async for _ in socket:
        pass


def _trouble(error: Exception) -> str:
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        if status in (401, 403):
            return "it refuses this worker's cluster token (set BATON_CLUSTER_TOKEN to the same text on both machines)"
        return f"it answers with HTTP {status} (is there a controller at this address?)"
    if isinstance(error, ConnectionClosed) and error.rcvd:
        return f"it closed the link ({error.rcvd.code} {error.rcvd.reason})".replace(" )", ")")
    if isinstance(error, LostError):
        return _trouble(error.__cause__) if isinstance(error.__cause__, Exception) else "it closed the link"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return str(error) or type(error).__name__
