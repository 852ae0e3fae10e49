"""One connection to a worker: bytes in, a reply's head and body out (HTTP/1.1, parsed by httptools)."""

import asyncio
import time
from typing import cast

import httptools

HEAD_LIMIT = 256 << 10  # bytes of a reply's status line and headers
PAUSE_ABOVE = 256 << 10  # bytes that wait for a slow client before the worker's socket is left unread


class UpstreamError(Exception):
    """The worker could not be reached, broke off, or does not speak HTTP. The text is for the log."""


class UpstreamSilentError(UpstreamError):
    """The worker sent nothing for longer than it may."""


class Connection(asyncio.Protocol):
    """One connection to a worker; carries one request and its reply at a time."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.reused = False
        self.idle_since = 0.0
        self.last_heard = 0.0
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._buffered = 0
        self._received = 0  # bytes of the reply, until its head is complete
        self._paused = False
        self._head = self._complete = self._sized = self._keep_alive = False
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def reusable(self) -> bool:
        """Whether another request may follow on this connection."""
        return self._complete and self._error is None and self._keep_alive and not self._parts

    @property
    def waiting(self) -> bool:
        return self._waiter is not None

    @property
    def untouched(self) -> bool:
        """Whether not a byte of the reply has come."""
        return not self._received

    @property
    def open(self) -> bool:
        return self._error is None and not self._transport.is_closing()

    def send(self, request: bytes) -> None:
        """Begin an exchange."""
        self._parser = httptools.HttpResponseParser(self)
        self.status, self.headers = 0, []
        self._head = self._complete = self._sized = self._keep_alive = False
        self._parts, self._buffered, self._received = [], 0, 0
        self.last_heard = time.monotonic()
        self._transport.write(request)

    async def head(self) -> None:
        """Wait for status and headers. Raises UpstreamError."""
        while not self._head:
            await self._wait()

    async def read(self) -> bytes:
        """Body bytes as they came; empty at the end. Raises UpstreamError when the worker breaks off."""
        while not self._parts:
            if self._complete:
                return b""
            await self._wait()
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._buffered = 0
        if self._paused:
            self._paused = False
            self.last_heard = time.monotonic()  # the pause was ours
            if self.open:
                self._transport.resume_reading()
        return data

    def close(self) -> None:
        self._transport.abort()

    def fail(self, error: UpstreamError) -> None:
        """Give up on the exchange under way; whoever waits for it gets `error`."""
        self._error = self._error or error
        self.close()
        self._wake()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # before anybody else holds this object

    def data_received(self, data: bytes) -> None:
        self.last_heard = time.monotonic()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(UpstreamError(f"not HTTP: {error.__context__ or error}"))
        if not self._head:
            self._received += len(data)
            if self._received > HEAD_LIMIT:
                self.fail(UpstreamError(f"the head of the reply is larger than {HEAD_LIMIT} bytes"))
        if self._buffered > PAUSE_ABOVE and not self._paused and self._error is None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head and not self._sized and exc is None:
            self._complete = True  # a body without length or chunks ends with its connection (RFC 9112 §6.3)
        if self._error is None:
            self._error = UpstreamError(f"the connection broke: {exc}" if exc else "the worker closed the connection")
        self._wake()

    # httptools callbacks

    def on_message_begin(self) -> None:
        if self._complete:  # of a reply that nobody asked for nothing may get into another one
            raise UpstreamError("bytes after the end of the reply")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._sized = self._sized or name in (b"content-length", b"transfer-encoding")
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self.headers, self._sized = [], False  # an interim reply (100 Continue); the real one follows
        else:
            self._head = True

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._buffered += len(body)

    def on_message_complete(self) -> None:
        self._complete = self._head
        self._keep_alive = self._parser.should_keep_alive()  # only here: the parser forgets once this returns

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
