"""The watch over real WebSockets."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from baton.wire import Changed, Gone, InFlight, Snapshot, Status, WorkerView
from tests.controller.rig import Controller, controller, eventually, hear, hello, say

A, B = "http://a:1", "http://b:1"


@pytest.fixture
async def hub() -> AsyncIterator[Controller]:
    async with controller() as hub:
        yield hub


async def test_snapshot_then_changes(hub: Controller) -> None:
    """A watch begins with everything; then come the workers that changed, and those that went."""
    async with hub.link() as a:
        await say(a, hello(A), Status())
        await eventually(hub, [A])
        async with hub.watch() as watch:
            first = await hear(watch)
            assert isinstance(first, Snapshot)
            assert [view.hello.address for view in first.workers] == [A]
            assert first.known_models == ["m"]
            async with hub.link() as b:
                await say(b, hello(B, "n"), Status())
                assert await hear(watch) == Changed(WorkerView(hello(B, "n"), Status()))
                await say(b, Status(running=5))
                assert await hear(watch) == Changed(WorkerView(hello(B, "n"), Status(running=5)))
            assert await hear(watch) == Gone(B)


async def test_all_watches_have_one_epoch(hub: Controller) -> None:
    """The epoch names the controller's life: the same for all who watch it, another after a restart."""
    async with hub.watch() as one, hub.watch() as two:
        epochs = {message.epoch for message in (await hear(one), await hear(two)) if isinstance(message, Snapshot)}
    async with controller() as other, other.watch() as three:
        message = await hear(three)
        assert isinstance(message, Snapshot)
        epochs.add(message.epoch)
    assert len(epochs) == 2


async def test_in_flight_counts_are_seen_by_others(hub: Controller) -> None:
    """What one API server has under way is `others` for the other one, and gone when it leaves."""
    async with hub.link() as a, hub.watch() as watch:
        await hear(watch)
        await say(a, hello(A), Status())
        await hear(watch)
        async with hub.watch() as other:
            await hear(other)
            await say(other, InFlight({A: 3}))
            assert await hear(watch) == Changed(WorkerView(hello(A), Status(), others=3))
            assert await hear(other) == Changed(WorkerView(hello(A), Status(), others=0))
        assert await hear(watch) == Changed(WorkerView(hello(A), Status(), others=0))
        assert (await hub.fleet())["api_servers"] == 1


async def test_changes_gather_while_the_reader_is_slow(hub: Controller) -> None:
    """A burst of statuses ends in the last one, with at most one message per status, and never a snapshot again."""
    async with hub.link() as a, hub.watch() as watch:
        await hear(watch)
        await say(a, hello(A), Status())
        for running in range(300):
            await say(a, Status(running=running))
        count = 0
        while True:
            message = await asyncio.wait_for(hear(watch), 5)
            assert isinstance(message, Changed)
            count += 1
            if message.worker.status.running == 299:
                break
        assert count <= 301


@pytest.mark.parametrize("garbage", ["", "{", '{"type":"InFlight","counts":{"a":-1}}', '{"type":"Gone"}', b"\xff"])
async def test_garbage_closes_the_watch(
    hub: Controller, garbage: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be read ends the watch with code 1003, and the API server's counts with it."""
    async with hub.link() as a, hub.watch() as bad, hub.watch() as good:
        await say(a, hello(A), Status())
        await hear(good)
        await say(bad, InFlight({A: 3}))
        while not (await hub.fleet())["workers"] or (await hub.fleet())["workers"][0]["in_flight"] != 3:
            pass
        await bad.send(garbage)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await asyncio.wait_for(bad.recv(), 5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1003
        while (await hub.fleet())["workers"][0]["in_flight"]:
            pass
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_watch_that_breaks_takes_its_counts(hub: Controller) -> None:
    """An API server that dies has nothing under way any more."""
    async with hub.link() as a, hub.watch() as watch:
        await say(a, hello(A), Status())
        await say(watch, InFlight({A: 3}))
        while not (await hub.fleet())["workers"] or (await hub.fleet())["workers"][0]["in_flight"] != 3:
            pass
        watch.transport.abort()
        while (await hub.fleet())["workers"][0]["in_flight"] or (await hub.fleet())["api_servers"]:
            pass


async def test_a_watch_needs_the_token() -> None:
    """Who does not have the cluster token learns nothing of the fleet."""
    async with controller("s3cret") as hub:
        stranger = Controller(hub.url, hub.http, {})
        with pytest.raises(InvalidStatus):
            await stranger.watch()
        async with hub.watch() as watch:
            assert isinstance(await hear(watch), Snapshot)
