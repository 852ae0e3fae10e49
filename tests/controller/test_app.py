"""The controller's app as a whole, and as a process."""

import asyncio
import random
import re
import signal
import sys
import time
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute
from websockets.exceptions import ConnectionClosed

from baton.auth import ClusterToken
from baton.wire import InFlight, Status
from controller.app import OPEN_PATHS, create_app
from controller.settings import ControllerSettings
from tests.baton.running import free_port, until
from tests.controller.rig import controller, eventually, hello, say

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "accelerate", "gradio", "numpy", "vllm")


async def test_fleet_shows_every_worker() -> None:
    """`GET /fleet` tells policy, API servers, models, and of each worker who it is and how it is."""
    async with (
        controller(settings=ControllerSettings(dispatch_method="lottery")) as hub,
        hub.link() as link,
        hub.watch(),
    ):
        await say(link, hello("http://a:1", "m", slots=9), Status(running=2, waiting=1, direct=3, kv_usage=0.5))
        await eventually(hub, ["http://a:1"])
        while (await hub.fleet())["workers"][0]["running"] != 2:
            pass
        picture = await hub.fleet()
        worker = picture["workers"][0]
    assert (picture["dispatch_method"], picture["api_servers"], picture["models"]) == ("lottery", 1, ["m"])
    assert (worker["in_flight"], worker["waiting"], worker["slots"], worker["kv_usage"]) == (3, 1, 9, 0.5)
    assert 0 <= worker["heard_seconds_ago"] < 5


async def test_health_is_open() -> None:
    """Probes need no token."""
    async with controller("s3cret") as hub, httpx.AsyncClient(base_url=hub.url) as stranger:
        for path in OPEN_PATHS:
            assert (await stranger.get(path)).status_code == 200


async def test_every_other_route_is_closed() -> None:
    """Every route that the app has, new ones included, is on the list of open paths or needs the token."""
    app = create_app(ControllerSettings(), ClusterToken("s3cret"))
    routes = [(method, route.path) for route in app.routes if isinstance(route, APIRoute) for method in route.methods]
    assert len(routes) > 10
    async with controller("s3cret") as hub, httpx.AsyncClient(base_url=hub.url) as stranger:
        for method, path in [*routes, ("GET", "/docs"), ("GET", "/redoc"), ("GET", "/openapi.json")]:
            reply = await stranger.request(method, path)
            assert (reply.status_code == 401) is (path not in OPEN_PATHS), (method, path)


async def test_unknown_routes_and_methods() -> None:
    """Errors have OpenAI's body here too."""
    async with controller() as hub:
        assert (await hub.http.get("/nowhere")).json()["error"]["code"] == "route_not_found"
        assert (await hub.http.get("/list_models")).json()["error"]["code"] == "method_not_allowed"


async def test_a_real_process() -> None:
    """`python -m controller` is ready in bounded time, small, and ends with 0 on SIGTERM."""
    port, began = free_port(), time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "controller", "--port", str(port), cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            while not await answers(client):
                assert time.monotonic() - began < 20
                await asyncio.sleep(0.02)
        ready = time.monotonic() - began
        resident = resident_mib(process.pid)
        print(f"controller: ready in {ready:.2f} s, {resident} MiB resident")
        assert resident < 200
        process.send_signal(signal.SIGTERM)
        _, err = await asyncio.wait_for(process.communicate(), 10)
        assert process.returncode == 0
        assert b"Traceback" not in err
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def resident_mib(pid: int) -> int:
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) >> 10


async def answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/ready")).status_code == 200
    except httpx.TransportError:
        return False


async def test_nothing_heavy_is_imported() -> None:
    """Neither the controller nor the API server loads a machine-learning library."""
    code = "import sys, controller.__main__, api_server.__main__; print(*sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    modules = set(out.decode().split())
    assert "controller.app" in modules
    assert not modules.intersection(HEAVY)


async def test_open_to_a_network_without_a_token_is_one_line() -> None:
    """A controller that would be open to all refuses to start, with one line and exit code 2."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "controller", "--host", "0.0.0.0", cwd=ROOT, stderr=asyncio.subprocess.PIPE, env={}
    )
    _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert err.count(b"\n") == 1
    assert b"BATON_CLUSTER_TOKEN" in err


async def test_old_links_do_not_keep_a_controller_from_ending() -> None:
    """Open links and watches are closed when the controller stops."""
    async with controller() as hub:
        link, watch = await hub.link(), await hub.watch()
        await say(link, hello("http://a:1"), Status())
        await eventually(hub, ["http://a:1"])
    await until(lambda: link.close_code is not None and watch.close_code is not None)


async def test_chaos(caplog: pytest.LogCaptureFixture) -> None:
    """Links and watches that come, talk nonsense and go at any time leave nothing behind, and no error in the log."""
    rng = random.Random(4)
    async with controller() as hub:

        async def flap(number: int) -> None:
            for turn in range(10):
                peer = await (hub.link() if number % 2 else hub.watch())
                try:
                    if number % 2:
                        await say(peer, hello(f"http://w{number % 7}:1"), Status(running=turn))
                    else:
                        await say(peer, InFlight({f"http://w{turn % 7}:1": turn}))
                    if rng.random() < 0.3:
                        await peer.send("nonsense")
                    await asyncio.sleep(rng.random() * 0.02)
                except ConnectionClosed:
                    pass
                if rng.random() < 0.5:
                    peer.transport.abort()
                await peer.close()

        await asyncio.gather(*(flap(number) for number in range(40)))
        await eventually(hub, [])
        while (await hub.fleet())["api_servers"]:
            pass
    assert not [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
