"""HTTP/1.1 to the workers: a pool of kept-alive connections, as little work per byte as Python allows.

A general client costs 1–2 ms of CPU per request; this one some tens of µs. It sends one request at a time on a
connection, passes body bytes on as they come, and leaves the worker's socket unread while nobody takes them.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from urllib.parse import urlsplit

from api_server.connection import Connection, UpstreamError, UpstreamSilentError

MAX_IDLE = 4.0  # seconds; uvicorn closes idle connections after 5 where it is not told otherwise
SWEEP = 1.0  # seconds between two looks for workers that went silent


class Reply:
    """A worker's reply. As a context manager it hands its connection back, or drops it if bytes are left on it."""

    __slots__ = ("_connection", "_release")

    def __init__(self, connection: Connection, release: Callable[[Connection], None]) -> None:
        self._connection = connection
        self._release = release

    @property
    def status(self) -> int:
        return self._connection.status

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names in lower case, in the order of their coming."""
        return self._connection.headers

    def header(self, name: bytes) -> bytes:
        """One header's value, or empty."""
        return next((value for key, value in self._connection.headers if key == name), b"")

    async def read(self) -> bytes:
        """The next piece of the body; empty at the end. Raises UpstreamError."""
        return await self._connection.read()

    async def read_all(self, limit: int) -> bytes:
        """The whole body. Raises UpstreamError, also when it is larger than `limit` bytes."""
        parts, size = [], 0
        while part := await self.read():
            size += len(part)
            if size > limit:
                raise UpstreamError(f"the reply is larger than {limit} bytes")
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def __enter__(self) -> "Reply":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release(self._connection)


class Upstream:
    """The pool. `connect_timeout` and `idle_timeout` in seconds; `sweep` must run as long as it is used."""

    def __init__(self, connect_timeout: float, idle_timeout: float) -> None:
        self._connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        self._context: ssl.SSLContext | None = None
        self._idle: dict[str, deque[Connection]] = {}
        self._all: set[Connection] = set()

    async def post(self, address: str, head: bytes, body: bytes) -> Reply:
        """Send a request and wait for the head of its reply.

        `head` is the request's lines up to and without the empty one. A reset of a reused connection that brought no
        byte is the worker's keep-alive running out, and is tried again once, on a new connection.
        Raises UpstreamError.
        """
        request = b"".join((head, b"content-length: %d\r\n\r\n" % len(body), body))
        connection = self._take(address) or await self._connect(address)
        try:
            await self._exchange(connection, request)
        except UpstreamSilentError:
            raise
        except UpstreamError:
            if not (connection.reused and connection.untouched):
                raise
            connection = await self._connect(address)
            await self._exchange(connection, request)
        return Reply(connection, partial(self._release, address))

    async def sweep(self) -> None:
        """Fail the exchanges of workers that went silent, and close what nobody reuses; for ever."""
        while True:
            await asyncio.sleep(SWEEP)
            now = time.monotonic()
            for connection in list(self._all):
                if not connection.open:
                    self._all.discard(connection)
                elif connection.waiting and now - connection.last_heard > self._idle_timeout:
                    connection.fail(UpstreamSilentError(f"silent for {self._idle_timeout:g} s"))
            self._close_idle(now)

    def close(self) -> None:
        """Drop every connection."""
        for connection in self._all:
            connection.close()
        self._all.clear()
        self._idle.clear()

    async def _exchange(self, connection: Connection, request: bytes) -> None:
        try:
            connection.send(request)
            await connection.head()
        except BaseException:  # also a client's leaving: the worker must see that nobody waits any more
            connection.close()
            raise

    def _release(self, address: str, connection: Connection) -> None:
        if connection.reusable and connection.open:
            connection.idle_since = time.monotonic()
            connection.reused = True
            self._idle.setdefault(address, deque()).append(connection)
        else:
            connection.close()

    def _take(self, address: str) -> Connection | None:
        idle, now = self._idle.get(address), time.monotonic()
        while idle:
            connection = idle.pop()  # the youngest: its worker has kept it alive most surely
            if connection.open and now - connection.idle_since < MAX_IDLE:
                return connection
            connection.close()
        return None

    def _close_idle(self, now: float) -> None:
        for address, idle in list(self._idle.items()):
            while idle and now - idle[0].idle_since >= MAX_IDLE:
                idle.popleft().close()
            if not idle:
                del self._idle[address]

    async def _connect(self, address: str) -> Connection:
        try:
            url = urlsplit(address)
            tls = self._tls() if url.scheme == "https" else None
            port = url.port or (443 if tls else 80)
            async with asyncio.timeout(self._connect_timeout):
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(Connection, url.hostname or "", port, ssl=tls)
        except TimeoutError as error:
            raise UpstreamError(f"no connection within {self._connect_timeout:g} s") from error
        except (OSError, ValueError) as error:  # ValueError: a port or a name that cannot be
            raise UpstreamError(f"no connection: {error}") from error
        self._all.add(connection)
        return connection

    def _tls(self) -> ssl.SSLContext:
        """Made once: reading the system's certificates takes milliseconds."""
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context
