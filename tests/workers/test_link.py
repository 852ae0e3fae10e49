"""The link against a real WebSocket server that notes what it hears."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from baton.wire import STATUS_COALESCE, STATUS_INTERVAL, Hello, Model, State, Status, decode_from_worker
from workers.link import Link

WAIT = 10.0
HELLO = Hello(address="http://127.0.0.1:21002", models=[Model("m")], engine="fake")


@dataclass
class Speaker:
    """A worker whose words the test sets."""

    said_hello: Hello = HELLO
    said_status: Status = field(default_factory=Status)

    def hello(self) -> Hello:
        return self.said_hello

    def status(self) -> Status:
        return self.said_status


@dataclass
class Controller:
    """Hears messages, with the time of each; closes links when told."""

    token: str = ""
    heard: asyncio.Queue[tuple[float, Hello | Status]] = field(default_factory=asyncio.Queue)
    links: list[ServerConnection] = field(default_factory=list)
    refused: asyncio.Event = field(default_factory=asyncio.Event)

    async def next(self) -> Hello | Status:
        return (await asyncio.wait_for(self.heard.get(), WAIT))[1]

    async def handle(self, socket: ServerConnection) -> None:
        self.links.append(socket)
        async for message in socket:
            assert isinstance(message, str)
            await self.heard.put((time.monotonic(), decode_from_worker(message)))

    def admit(self, socket: ServerConnection, request: Request) -> Response | None:
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            self.refused.set()
            return socket.respond(HTTPStatus.UNAUTHORIZED, "")
        return None if request.path == "/link" else socket.respond(HTTPStatus.NOT_FOUND, "")

    async def start(self, port: int = 0) -> Server:
        return await serve(self.handle, "127.0.0.1", port, process_request=self.admit)


class CountedRandom(random.Random):
    """Randomness that tells of each number drawn: one for each try."""

    def __init__(self) -> None:
        super().__init__(1)
        self.drawn: asyncio.Queue[float] = asyncio.Queue()

    def uniform(self, a: float, b: float) -> float:
        self.drawn.put_nowait(a)
        return super().uniform(a, b)


@asynccontextmanager
async def linked(
    port: int, speaker: Speaker, headers: dict[str, str] | None = None, rng: random.Random | None = None
) -> AsyncIterator[asyncio.Event]:
    """A running link; gives the event that says that there is news."""
    changed = asyncio.Event()
    link = Link(f"http://127.0.0.1:{port}", headers or {}, speaker, changed, rng=rng or random.Random(1))
    task = asyncio.create_task(link.run())
    try:
        yield changed
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def port_of(server: Server) -> int:
    port: int = next(iter(server.sockets)).getsockname()[1]
    return port


async def test_hello_comes_first_then_status() -> None:
    """A link opens with who the worker is; the token goes along."""
    controller = Controller(token="s3cret")
    async with (
        await controller.start() as server,
        linked(port_of(server), Speaker(), {"authorization": "Bearer s3cret"}),
    ):
        assert await controller.next() == HELLO
        assert await controller.next() == Status()


async def test_a_quiet_worker_is_heard_every_second() -> None:
    """Without news a status still comes within the interval."""
    controller = Controller()
    async with await controller.start() as server, linked(port_of(server), Speaker()):
        await controller.next()
        (first, _), (second, _) = [await asyncio.wait_for(controller.heard.get(), WAIT) for _ in range(2)]
        assert 0.5 * STATUS_INTERVAL < second - first < 2 * STATUS_INTERVAL


async def test_changes_gather() -> None:
    """Many changes in a moment are few statuses, and the last one is true."""
    controller = Controller()
    speaker = Speaker()
    async with await controller.start() as server, linked(port_of(server), speaker) as changed:
        await controller.next()
        await controller.next()
        began = time.monotonic()
        for running in range(1, 201):
            speaker.said_status = Status(running=running)
            changed.set()
            await asyncio.sleep(0.001)
        statuses: list[Hello | Status] = []
        while not statuses or statuses[-1] != Status(running=200):
            statuses.append(await controller.next())
        assert len(statuses) <= (time.monotonic() - began) / STATUS_COALESCE + 1


async def test_draining_is_said_at_once() -> None:
    """A new state does not wait for other changes."""
    controller = Controller()
    speaker = Speaker()
    async with await controller.start() as server, linked(port_of(server), speaker) as changed:
        await controller.next()
        await controller.next()
        began = time.monotonic()
        speaker.said_status = Status(state=State.DRAINING)
        changed.set()
        assert await controller.next() == Status(state=State.DRAINING)
        assert time.monotonic() - began < STATUS_COALESCE


async def test_a_changed_hello_is_sent_again() -> None:
    """What the worker learns later, its context length say, follows on the same link."""
    controller = Controller()
    speaker = Speaker()
    async with await controller.start() as server, linked(port_of(server), speaker) as changed:
        await controller.next()
        await controller.next()
        speaker.said_hello = replace_models(Model("m", context_length=4096))
        changed.set()
        assert await controller.next() == speaker.said_hello
        assert isinstance(await controller.next(), Status)
        assert len(controller.links) == 1


def replace_models(model: Model) -> Hello:
    import msgspec

    return msgspec.structs.replace(HELLO, models=[model])


async def test_comes_back_after_a_loss(caplog: pytest.LogCaptureFixture) -> None:
    """A lost controller is found again, with a new hello; one line tells of the outage."""
    controller = Controller()
    server = await controller.start()
    port = port_of(server)
    with caplog.at_level(logging.INFO, "workers.link"):
        rng = CountedRandom()
        async with linked(port, Speaker(), rng=rng):
            assert await controller.next() == HELLO
            server.close()
            await server.wait_closed()
            for _ in range(4):
                await asyncio.wait_for(rng.drawn.get(), WAIT)
            lines = len(caplog.records)
            async with await controller.start(port):
                while await controller.next() != HELLO:
                    pass
    assert 1 <= lines <= 2  # the link that closed, and the refusal to connect


async def test_starts_before_the_controller() -> None:
    """A worker does not need a controller to start."""
    controller = Controller()
    server = await controller.start()
    port = port_of(server)
    server.close()
    await server.wait_closed()
    async with linked(port, Speaker()):
        await asyncio.sleep(0)
        async with await controller.start(port):
            assert await controller.next() == HELLO


async def test_a_refused_token_is_told_with_its_remedy(caplog: pytest.LogCaptureFixture) -> None:
    """The log says what to do when the controller knows another token, and says it once."""
    controller = Controller(token="s3cret")
    with caplog.at_level(logging.WARNING, "workers.link"):
        async with await controller.start() as server, linked(port_of(server), Speaker()):
            for _ in range(3):
                controller.refused.clear()
                await asyncio.wait_for(controller.refused.wait(), WAIT)
    assert [record for record in caplog.messages if "BATON_CLUSTER_TOKEN" in record] == caplog.messages[:1]
    assert len(caplog.messages) == 1
