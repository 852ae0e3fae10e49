"""The watch against the real controller: followed, lost, found again."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from fastapi import FastAPI
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from api_server.replica import Replica
from api_server.watch import Watch
from baton.auth import ClusterToken
from baton.wire import LINK_PATH, Hello, Model, Status, encode
from controller.app import create_app
from controller.dispatch import least_load
from controller.settings import ControllerSettings
from tests.baton.running import free_port, running, until

A = "http://a:1"


@asynccontextmanager
async def watching(url: str, secret: str = "") -> AsyncIterator[Replica]:
    """A replica that a watch keeps true."""
    replica = Replica(least_load, random.Random(1))
    task = asyncio.create_task(Watch(url, ClusterToken(secret), replica).run())
    try:
        yield replica
    finally:
        assert not task.done(), "the watch ended"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def linked(url: str, address: str = A, secret: str = "") -> AsyncIterator[None]:
    """A worker in the controller's fleet."""
    async with connect(
        url.replace("http", "ws") + LINK_PATH, additional_headers=ClusterToken(secret).headers()
    ) as link:
        await link.send(encode(Hello(address, [Model("m", created=1_763_000_000)], "fake")).decode())
        await link.send(encode(Status()).decode())
        yield


def controller(secret: str = "") -> FastAPI:
    return create_app(ControllerSettings(), ClusterToken(secret))


async def test_a_replica_follows_its_controller() -> None:
    """Workers appear, and go at once when their links do."""
    async with running(controller()) as url, watching(url) as replica:
        async with linked(url):
            await until(lambda: replica.serves)
            assert replica.choose("m", (), 0).address == A
        await until(lambda: not replica.serves, within=1)
        assert replica.registry.knows("m")


async def test_serving_survives_the_controllers_death() -> None:
    """The controller stops: the replica goes on. It comes back: within two seconds the replica is whole again."""
    port = free_port()
    async with watching(f"http://127.0.0.1:{port}") as replica, AsyncExitStack() as workers:
        async with running(controller(), port) as url:
            await workers.enter_async_context(linked(url))
            await until(lambda: replica.serves)
            worker = replica.choose("m", (), 0)
            worker.mine = 1
        assert replica.choose("m", (), 0) is worker
        async with running(controller(), port) as url:
            await asyncio.sleep(0)
            assert replica.choose("m", (), 0) is worker
            async with linked(url), linked(url, "http://b:1"):
                await until(lambda: len(replica.registry) == 2, within=2)
                assert replica.choose("m", [worker], 0).address == "http://b:1"
                assert replica.in_flight() == {A: 1}


async def test_in_flight_is_reported() -> None:
    """What one API server has under way, another one sees as load, soon; and its end too."""
    async with (
        running(controller()) as url,
        linked(url),
        watching(url) as one,
        watching(url) as two,
    ):
        await until(lambda: one.serves and two.serves)
        mine, seen = one.choose("m", (), 0), two.choose("m", (), 0)
        mine.mine = 3
        await until(lambda: seen.others == 3, within=2)
        assert mine.others == 0
        assert mine.load == seen.load == 3
        mine.mine = 0
        await until(lambda: seen.others == 0, within=2)


async def test_a_wrong_token_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A refusal is one line in the log that names the token, not one per try."""
    async with running(controller("s3cret")) as url, watching(url, "wrong") as replica:
        await until(lambda: "BATON_CLUSTER_TOKEN" in caplog.text)
        await asyncio.sleep(0.5)
        assert not replica.informed
        assert caplog.text.count("no controller at") == 1


async def test_the_right_token_is_let_in() -> None:
    """With the cluster token the watch works as without."""
    async with (
        running(controller("s3cret")) as url,
        watching(url, "s3cret") as replica,
        linked(url, secret="s3cret"),
    ):
        await until(lambda: replica.serves)


@pytest.mark.parametrize("garbage", ["", "{", "null", '{"type":"Gone"}', "[" * 100_000, b"\xff\xfe"])
async def test_garbage_does_not_end_the_watch(garbage: str | bytes) -> None:
    """A controller that talks nonsense is left and tried again, with pauses that grow."""
    tries = 0

    async def nonsense(socket: ServerConnection) -> None:
        nonlocal tries
        tries += 1
        await socket.send(garbage)
        await socket.wait_closed()

    async with serve(nonsense, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with watching(f"http://127.0.0.1:{port}") as replica:
            await until(lambda: tries >= 3)
            assert not replica.informed
            assert tries < 10
