"""FastChat's ten routes over real HTTP."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from baton.wire import Status
from controller import fleet as fleet_module
from controller.settings import ControllerSettings
from tests.baton.running import free_port, running
from tests.controller.rig import Controller, controller, eventually, hello, say

A, B = "http://a:1", "http://b:1"
POSTS = [
    "/register_worker",
    "/refresh_all_workers",
    "/list_models",
    "/list_multimodal_models",
    "/list_language_models",
    "/get_worker_address",
    "/receive_heart_beat",
    "/worker_generate_stream",
    "/worker_get_status",
]


@pytest.fixture
async def hub() -> AsyncIterator[Controller]:
    async with controller() as hub:
        yield hub


class OldWorker:
    """A worker in FastChat's manner: answers by path, remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self.status: dict[str, Any] | bytes = {"model_names": ["old"], "speed": 2, "queue_length": 3}
        self.code = 200
        self.frames = [json.dumps({"text": text, "error_code": 0}).encode() + b"\0" for text in ("a", "ab")]
        self.breaks = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.asked.append((scope["path"], body))
        await send({"type": "http.response.start", "status": self.code, "headers": []})
        if scope["path"] == "/worker_get_status":
            status = self.status if isinstance(self.status, bytes) else json.dumps(self.status).encode()
            await send({"type": "http.response.body", "body": status})
            return
        for frame in self.frames:
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        if self.breaks:
            raise ConnectionAbortedError("as told")
        await send({"type": "http.response.body", "body": b""})


def registration(address: str, *models: str, **fields: object) -> dict[str, Any]:
    status = {"model_names": list(models or ("m",)), "speed": 1, "queue_length": 0}
    return {"worker_name": address, "check_heart_beat": True, "worker_status": status, **fields}


async def test_register_and_list(hub: Controller) -> None:
    """A registration is answered with null; its models are listed, by kind too."""
    reply = await hub.post("/register_worker", registration(A, "t"))
    assert (reply.status_code, reply.json()) == (200, None)
    await hub.post("/register_worker", registration(B, "v", multimodal=True))
    assert (await hub.post("/list_models")).json() == {"models": ["t", "v"]}
    assert (await hub.post("/list_language_models")).json() == {"models": ["t"]}
    assert (await hub.post("/list_multimodal_models")).json() == {"models": ["v"]}
    assert (await hub.post("/worker_get_status")).json() == {"model_names": ["t", "v"], "speed": 2, "queue_length": 0}


async def test_test_connection(hub: Controller) -> None:
    """A JSON string, as FastChat has it."""
    assert (await hub.http.get("/test_connection")).json() == "success"


async def test_get_worker_address(hub: Controller) -> None:
    """Requests are spread over all who have the model; nobody is the empty string, with 200."""
    reply = await hub.post("/get_worker_address", {"model": "m"})
    assert (reply.status_code, reply.json()) == (200, {"address": ""})
    await hub.post("/register_worker", registration(A))
    await hub.post("/register_worker", registration(B))
    given = Counter([(await hub.post("/get_worker_address", {"model": "m"})).json()["address"] for _ in range(20)])
    assert given == {A: 10, B: 10}


async def test_our_workers_serve_old_clients(hub: Controller) -> None:
    """A worker on a link is given to a client that asks in FastChat's manner."""
    async with hub.link() as socket:
        await say(socket, hello(A), Status())
        await eventually(hub, [A])
        assert (await hub.post("/get_worker_address", {"model": "m"})).json() == {"address": A}


async def test_heart_beat(hub: Controller) -> None:
    """A known worker's heartbeat sets its queue length; a stranger is told to register."""
    beat = {"worker_name": A, "queue_length": 5}
    assert (await hub.post("/receive_heart_beat", beat)).json() == {"exist": False}
    await hub.post("/register_worker", registration(A))
    assert (await hub.post("/receive_heart_beat", beat)).json() == {"exist": True}
    assert (await hub.post("/worker_get_status")).json()["queue_length"] == 5
    odd = await hub.post("/receive_heart_beat", {"worker_name": "no url", "queue_length": 0})
    assert (odd.status_code, odd.json()) == (200, {"exist": False})


async def test_an_address_with_a_slash_is_one_worker(hub: Controller) -> None:
    """A worker that writes its address with a slash at the end is known by its heartbeats."""
    await hub.post("/register_worker", registration(A + "/"))
    beat = {"worker_name": A + "/", "queue_length": 5}
    assert (await hub.post("/receive_heart_beat", beat)).json() == {"exist": True}
    assert await hub.addresses() == [A]


async def test_heartbeats_expire() -> None:
    """A worker that promised heartbeats and sends none is gone after the time of the settings; others stay."""
    async with controller(settings=ControllerSettings(fastchat_expiration=0.2)) as hub:
        await hub.post("/register_worker", registration(A))
        await hub.post("/register_worker", registration(B, check_heart_beat=False))
        await eventually(hub, [B])


async def test_registering_again_replaces_the_record(hub: Controller) -> None:
    """The newest description counts."""
    await hub.post("/register_worker", registration(A, "m", "n"))
    await hub.post("/register_worker", registration(A, "o"))
    assert (await hub.post("/list_models")).json() == {"models": ["o"]}


ABSURD: list[dict[str, Any]] = [
    {"model_names": "m", "speed": 1, "queue_length": 0},
    {"model_names": [1], "speed": 1, "queue_length": 0},
    {"model_names": [""], "speed": 1, "queue_length": 0},
    {"model_names": ["m" * 300], "speed": 1, "queue_length": 0},
    {"model_names": None, "speed": 1, "queue_length": 0},
    {"model_names": ["m"], "speed": 0, "queue_length": 0},
    {"model_names": ["m"], "speed": -1, "queue_length": 0},
    {"model_names": ["m"], "speed": 1e9, "queue_length": 0},
    {"model_names": ["m"], "speed": "1", "queue_length": 0},
    {"model_names": ["m"], "speed": 1, "queue_length": -1},
    {"model_names": ["m"], "speed": 1, "queue_length": 10**30},
    {"model_names": ["m"], "speed": 1, "queue_length": 0.5},
]


@pytest.mark.parametrize("status", ABSURD, ids=str)
async def test_absurd_registrations_are_refused(hub: Controller, status: dict[str, Any]) -> None:
    """No forged number or name gets into the registry."""
    reply = await hub.post("/register_worker", registration(A, worker_status=status))
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert await hub.addresses() == []


BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"{}",
    b"\xff",
    b'"x"',
    b"NaN",
    b'{"model":NaN}',
    b'{"model":1}',
    b'{"model":"\\ud800"}',
    b'{"worker_name":"http://a:1","queue_length":NaN}',
    b'{"worker_name":"http://a:1","queue_length":-1}',
    b'{"worker_name":"http://a:1","check_heart_beat":true,"worker_status":{}}',
    b'{"worker_name":"http://[bad","check_heart_beat":true}',
    b'{"worker_name":"http://a:1/x?y","check_heart_beat":true,"worker_status":null}',
    b'{"worker_name":null,"check_heart_beat":true}',
    b'{"model":"m","x":' + b"[" * 100_000,
    b"[" * 100_000,
    b'{"model":"' + b"m" * 1_100_000 + b'"}',
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: str(body[:40]))
async def test_no_body_is_a_500(hub: Controller, body: bytes) -> None:
    """Malformed bodies are the client's fault on every route, and change nothing."""
    for path in POSTS:
        reply = await hub.http.post(path, content=body, headers={"content-type": "application/json"})
        assert reply.status_code < 500, (path, reply.text)
        assert reply.status_code == 200 or set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert await hub.addresses() == []


async def test_a_relayed_body_has_a_bound(hub: Controller) -> None:
    """A body larger than the relay takes is refused."""

    async def large() -> AsyncIterator[bytes]:
        for _ in range(33):
            yield b" " * (1 << 20)

    headers = {"content-type": "application/json"}
    reply = await hub.http.post("/worker_generate_stream", content=large(), headers=headers)
    assert reply.status_code == 413


async def test_the_controller_calls_nobody_because_a_stranger_says_so(hub: Controller) -> None:
    """Without a cluster token and without worker_status only this machine's addresses are asked."""
    for name in ("http://10.0.0.1:80", "http://example.com", "http://169.254.169.254", "http://127.0.0.1.evil.com"):
        reply = await hub.post("/register_worker", {"worker_name": name, "check_heart_beat": True})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "worker_status")


async def test_only_an_address_can_be_polled(hub: Controller) -> None:
    """A name with a path, a query or a user is not asked, not even on this machine."""
    old = OldWorker()
    async with running(old) as url:
        for name in (f"{url}/admin?x=", f"{url}/a/..", url.replace("//", "//u@"), f"{url}#", "ftp://127.0.0.1", "x"):
            reply = await hub.post("/register_worker", {"worker_name": name, "check_heart_beat": True})
            assert reply.status_code == 400
    assert old.asked == []


async def test_a_local_worker_is_asked_for_its_status(hub: Controller) -> None:
    """A registration without status makes the controller ask, and 502 tells that nobody answered."""
    async with running(OldWorker()) as url:
        reply = await hub.post("/register_worker", {"worker_name": url, "check_heart_beat": False})
        assert (reply.status_code, reply.json()) == (200, None)
        assert (await hub.post("/worker_get_status")).json() == {"model_names": ["old"], "speed": 2, "queue_length": 3}
    nobody = {"worker_name": f"http://127.0.0.1:{free_port()}", "check_heart_beat": True}
    assert (await hub.post("/register_worker", nobody)).status_code == 502


async def test_refresh_drops_who_does_not_answer(hub: Controller) -> None:
    """Refresh asks the old workers, takes their queue lengths, drops the dead and the garbled, spares ours."""
    alive, garbled = OldWorker(), OldWorker()
    garbled.status = b"\xff{"
    async with running(alive) as url, running(garbled) as other, hub.link() as link:
        await say(link, hello(A), Status())
        await eventually(hub, [A])
        for address in (url, other, f"http://127.0.0.1:{free_port()}"):
            await hub.post("/register_worker", registration(address, check_heart_beat=False))
        reply = await hub.post("/refresh_all_workers")
        assert (reply.status_code, reply.json()) == (200, None)
        assert sorted(await hub.addresses()) == sorted([A, url])
        assert (await hub.post("/worker_get_status")).json()["queue_length"] == 3


async def test_relay_to_an_old_worker(hub: Controller) -> None:
    """Frames pass unchanged, the request's bytes too; an upper controller sees one worker."""
    old = OldWorker()
    async with running(old) as url:
        await hub.post("/register_worker", registration(url, "m"))
        body = b'{"model": "m",  "prompt": "x"}'
        headers = {"content-type": "application/json"}
        reply = await hub.http.post("/worker_generate_stream", content=body, headers=headers)
    assert reply.content == b"".join(old.frames)
    assert old.asked == [("/worker_generate_stream", body)]


def codes(content: bytes) -> list[int]:
    return [json.loads(frame)["error_code"] for frame in content.split(b"\0") if frame]


async def test_no_worker_is_one_frame(hub: Controller) -> None:
    """Without a worker there is exactly one frame, with FastChat's code."""
    reply = await hub.post("/worker_generate_stream", {"model": "m"})
    assert (reply.status_code, codes(reply.content)) == (200, [50005])


async def test_a_worker_that_fails_is_one_frame(hub: Controller) -> None:
    """Unreachable, refusing or breaking off: one frame with FastChat's code follows what came before."""
    await hub.post("/register_worker", registration(f"http://127.0.0.1:{free_port()}", "dead"))
    assert codes((await hub.post("/worker_generate_stream", {"model": "dead"})).content) == [50006]
    old = OldWorker()
    async with running(old) as url:
        await hub.post("/register_worker", registration(url, "m"))
        old.code = 500
        assert codes((await hub.post("/worker_generate_stream", {"model": "m"})).content) == [50006]
        old.code, old.breaks = 200, True
        assert codes((await hub.post("/worker_generate_stream", {"model": "m"})).content) == [0, 0, 50006]


async def test_a_full_fleet_is_503(hub: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registration too many is refused with a code of ours."""
    monkeypatch.setattr(fleet_module, "MAX_WORKERS", 1)
    await hub.post("/register_worker", registration(A))
    reply = await hub.post("/register_worker", registration(B))
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "overloaded")


async def test_all_routes_need_the_token() -> None:
    """With a cluster token no FastChat route is open; with it they work as before."""
    async with controller("s3cret") as hub:
        for path in (*POSTS, "/fleet", "/docs", "/openapi.json"):
            reply = await hub.http.post(path, headers={"authorization": "Bearer wrong"})
            assert reply.status_code == 401, path
        assert (await hub.post("/list_models")).json() == {"models": []}
