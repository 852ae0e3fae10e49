"""The worker link over real WebSockets."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI, WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from baton.wire import LINK_PATH, State, Status
from controller import fleet as fleet_module
from controller.dispatch import least_load
from controller.fleet import Fleet
from controller.links import Links
from tests.baton.running import running, until
from tests.controller.rig import Controller, controller, eventually, hello, say

A = "http://a:1"


@pytest.fixture
async def hub() -> AsyncIterator[Controller]:
    async with controller() as hub:
        yield hub


async def test_a_workers_life(hub: Controller) -> None:
    """Hello puts a worker into the fleet, status updates it, the end of its link removes it at once."""
    async with hub.link() as socket:
        await say(socket, hello(A, "m", slots=7), Status(running=2, waiting=1, direct=3))
        await eventually(hub, [A])
        picture = await hub.fleet()
        assert picture["models"] == ["m"]
        worker = picture["workers"][0]
        assert (worker["slots"], worker["state"], worker["engine"]) == (7, "ready", "fake")
        await say(socket, Status(State.DRAINING))
        while (await hub.fleet())["workers"][0]["state"] != "draining":
            pass
        began = asyncio.get_running_loop().time()
    await eventually(hub, [])
    assert asyncio.get_running_loop().time() - began < 1


async def test_a_link_that_breaks_is_a_dead_worker(hub: Controller) -> None:
    """A reset removes the worker as well: no goodbye is needed."""
    async with hub.link() as socket:
        await say(socket, hello(A), Status())
        await eventually(hub, [A])
        socket.transport.abort()
        await eventually(hub, [])


GARBAGE: list[str | bytes] = [
    "",
    "{",
    "null",
    '{"type":"Hello"}',
    '{"type":"Status","running":-1}',
    '{"type":"Status","x":' + "[" * 100_000,
    b"\xff\xfe",
    b'{"type":"Hello","address":"\xff"}',
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda text: str(text)[:30])
async def test_garbage_closes_the_link_and_nothing_else(
    hub: Controller, garbage: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be read ends its link with code 1003; other workers stay, and no error of ours is logged."""
    async with hub.link() as good, hub.link() as bad:
        await say(good, hello(A), Status())
        await say(bad, hello("http://bad:1"), Status())
        await bad.send(garbage)
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(bad.recv(), 5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1003
        await eventually(hub, [A])
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def closed_by(hub: Controller, *messages: Status | object) -> str:
    """The reason for which a link with these messages is closed."""
    async with hub.link() as socket:
        await say(socket, *messages)  # type: ignore[arg-type]
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(socket.recv(), 5)
    return closed.value.rcvd.reason if closed.value.rcvd else ""


async def test_a_status_needs_a_hello(hub: Controller) -> None:
    """Nobody can report before saying who he is."""
    assert "hello" in await closed_by(hub, Status())


async def test_a_link_speaks_for_one_worker(hub: Controller) -> None:
    """A second address on a link is refused."""
    assert "one worker" in await closed_by(hub, hello(A), Status(), hello("http://b:1"))
    await eventually(hub, [])


async def test_the_newest_link_takes_over(hub: Controller) -> None:
    """A worker that comes back wins over its old link; the loser is told why, and takes nothing with it."""
    async with hub.link() as new:
        async with hub.link() as old:
            await say(old, hello(A, "old"), Status())
            await eventually(hub, [A])
            await say(new, hello(A, "new"), Status())
            while (await hub.fleet())["models"] != ["new"]:
                pass
            await say(old, Status())
            with pytest.raises(ConnectionClosed, match="another worker registered"):
                await asyncio.wait_for(old.recv(), 5)
        await say(new, Status(running=1))
        while (await hub.fleet())["workers"][0]["running"] != 1:
            pass


async def test_a_hello_may_change_the_models(hub: Controller) -> None:
    """A second hello with the same address is the worker's new description."""
    async with hub.link() as socket:
        await say(socket, hello(A, "m"), Status(), hello(A, "n"))
        while (await hub.fleet())["models"] != ["n"]:
            pass


async def test_a_link_needs_the_token() -> None:
    """Without the cluster token nobody becomes a worker."""
    async with controller("s3cret") as hub:
        stranger = Controller(hub.url, hub.http, {"authorization": "Bearer wrong"})
        with pytest.raises(InvalidStatus):
            await stranger.link()
        async with hub.link() as socket:
            await say(socket, hello(A), Status())
            await eventually(hub, [A])


async def test_a_full_fleet_says_try_later(hub: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker that is one too many is told so."""
    monkeypatch.setattr(fleet_module, "MAX_WORKERS", 1)
    async with hub.link() as socket:
        await say(socket, hello(A), Status())
        await eventually(hub, [A])
        assert "at most 1" in await closed_by(hub, hello("http://b:1"), Status())
        await eventually(hub, [A])


async def test_a_worker_that_was_silent_too_long_is_told_so() -> None:
    """A worker that was stopped and goes on is asked to come back, not accused of another one's address."""
    fleet = Fleet("epoch", least_load, random.Random(1), lambda _: None)
    links, app = Links(fleet, lambda: 0.0), FastAPI()

    @app.websocket(LINK_PATH)
    async def link(socket: WebSocket) -> None:
        await links.serve(socket)

    async with running(app) as url, connect(url.replace("http", "ws") + LINK_PATH) as socket:
        await say(socket, hello(A), Status())
        await until(lambda: len(fleet.registry))
        assert fleet.expire(100) == [A]
        await say(socket, Status())
        with pytest.raises(ConnectionClosed, match="hello again"):
            await asyncio.wait_for(socket.recv(), 5)
