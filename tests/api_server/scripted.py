"""Workers that do exactly what a test tells them, byte by byte."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Exchange:
    """One request as it came, and the means to answer it."""

    head: bytes
    body: bytes
    writer: asyncio.StreamWriter
    client_left: asyncio.Event

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
        await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()

    def header(self, name: bytes) -> bytes:
        lines = [line.partition(b": ") for line in self.head.split(b"\r\n")]
        return next((value for key, _, value in lines if key.lower() == name), b"")


Script = Callable[[Exchange], Awaitable[None]]


def reply(body: bytes, status: bytes = b"200 OK", kind: bytes = b"application/json", more: bytes = b"") -> bytes:
    """A whole reply with a length."""
    return b"HTTP/1.1 %b\r\ncontent-type: %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, kind, more, len(body), body)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def stream(*events: bytes) -> bytes:
    """A whole chunked event stream."""
    return STREAM_HEAD + b"".join(map(chunk, events)) + LAST_CHUNK


def answer(*parts: bytes) -> Script:
    """Send these bytes, keep the connection."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(*parts)

    return script


def answer_and_close(*parts: bytes) -> Script:
    """Send these bytes, then close in good order."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(*parts)
        exchange.close()

    return script


def answer_and_reset(*parts: bytes) -> Script:
    """Send these bytes, wait until they are on their way, then break the connection."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(*parts)
        await asyncio.sleep(0.02)  # a reset overtakes what the peer has not read yet
        exchange.reset()

    return script


async def hang(exchange: Exchange) -> None:
    """Say nothing until the other side gives up."""
    await exchange.client_left.wait()


@dataclass
class Worker:
    """A scripted worker: each request is answered by the next script; the last one stays."""

    scripts: list[Script]
    address: str = ""
    seen: list[Exchange] = field(default_factory=list)
    connections: int = 0  # that were ever accepted
    open: int = 0  # that are open now

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        exchange = Exchange(head, b"", writer, asyncio.Event())
        exchange.body = await reader.readexactly(int(exchange.header(b"content-length") or 0))
        self.seen.append(exchange)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        watching = asyncio.create_task(_watch(reader, exchange.client_left))
        try:
            await script(exchange)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return not (exchange.client_left.is_set() or writer.is_closing())


async def _watch(reader: asyncio.StreamReader, client_left: asyncio.Event) -> None:
    while not reader.at_eof() and reader.exception() is None:  # noqa: ASYNC110 — to read would take the next request
        await asyncio.sleep(0.002)
    client_left.set()


@asynccontextmanager
async def worker(*scripts: Script) -> AsyncIterator[Worker]:
    """A scripted worker on a port of its own."""
    made = Worker(list(scripts))
    server = await asyncio.start_server(made._connected, "127.0.0.1", 0, backlog=1024)
    made.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        for exchange in made.seen:
            exchange.reset()
