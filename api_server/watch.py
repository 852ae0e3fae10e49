"""The watch, API server's side: follow the controller's registry, tell it what is under way here."""

import asyncio
import logging
import random
import time

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from api_server.replica import Replica
from baton.auth import ClusterToken
from baton.backoff import Backoff
from baton.wire import GARBLED, WATCH_PATH, InFlight, decode_to_api_server, encode

log = logging.getLogger(__name__)

PING = 10.0  # seconds after which a connection without an answer counts as lost
REPORT_INTERVAL = 0.25  # seconds between two reports of changed in-flight counts
SNAPSHOT_LIMIT = 256 << 20  # bytes of the largest message that is taken


class Watch:
    """Keeps a replica true for as long as it runs; survives every absence of the controller."""

    def __init__(self, controller_address: str, token: ClusterToken, replica: Replica) -> None:
        self._url = controller_address.rstrip("/").replace("http", "ws", 1) + WATCH_PATH
        self._token = token
        self._replica = replica
        self._outage = False  # whether the log has told of the controller's absence

    async def run(self) -> None:
        """Connect, follow, connect again; for ever."""
        backoff = Backoff(random.Random())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._expire())
            while True:
                try:
                    async with connect(
                        self._url,
                        additional_headers=self._token.headers(),
                        proxy=None,
                        max_size=SNAPSHOT_LIMIT,
                        open_timeout=5,
                        close_timeout=1,
                        ping_interval=PING,
                        ping_timeout=PING,
                    ) as socket:
                        await self._follow(socket, backoff)
                except (OSError, WebSocketException, TimeoutError, *GARBLED) as error:
                    self._tell_outage(error)
                await asyncio.sleep(backoff.next())

    async def _follow(self, socket: ClientConnection, backoff: Backoff) -> None:
        log.info("following the controller at %s", self._url)
        self._outage = False
        reporting = asyncio.create_task(self._report(socket))
        try:
            async for message in socket:
                self._replica.apply(decode_to_api_server(message), time.monotonic())
                backoff.reset()  # not earlier: a controller that cuts every watch must not be asked without pause
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)

    async def _report(self, socket: ClientConnection) -> None:
        reported: dict[str, int] = {}
        while True:
            counts = self._replica.in_flight()
            if counts != reported:
                await socket.send(encode(InFlight(counts)), text=True)
                reported = counts
            await asyncio.sleep(REPORT_INTERVAL)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._replica.expire(time.monotonic())

    def _tell_outage(self, error: Exception) -> None:
        if self._outage:
            return
        self._outage = True
        refused = isinstance(error, InvalidStatus) and error.response.status_code in (401, 403)
        cause = "it refuses our BATON_CLUSTER_TOKEN; set the same one everywhere" if refused else str(error)
        log.warning("no controller at %s (%s); serving goes on from what is known", self._url, cause)
