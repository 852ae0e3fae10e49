"""The API server as a whole: poison, keys, routes, CORS."""

import asyncio
import gc
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route
from websockets.asyncio.client import connect

from api_server.app import HOT_PATHS, OPEN_PATHS, HotPath, create_app, make_parts
from api_server.settings import ApiServerSettings
from baton import __version__
from baton.auth import ClusterToken
from tests.api_server.rig import BODY, CHAT, JSON, Rig, api_server
from tests.api_server.scripted import Worker, answer, reply, worker
from tests.baton.running import free_port, until

ROOT = Path(__file__).parents[2]
KEYS = ApiServerSettings(api_keys=("k1", "k2"))


@pytest.fixture
async def it() -> AsyncIterator[Worker]:
    async with worker(answer(reply(b"{}"))) as it:
        yield it


@pytest.fixture
async def rig(it: Worker) -> AsyncIterator[Rig]:
    async with api_server(it.address) as rig:
        yield rig


POISON: dict[str, bytes] = {
    "empty": b"",
    "null": b"null",
    "number": b"1",
    "array": b"[]",
    "no model": b"{}",
    "null model": b'{"model":null}',
    "number model": b'{"model":1}',
    "list model": b'{"model":["m"]}',
    "empty model": b'{"model":""}',
    "unknown model": b'{"model":"nobody"}',
    "odd model": b'{"model":"../../etc/passwd\\u0000\\r\\nx: y"}',
    "long model": b'{"model":"' + b"m" * 1_000_000 + b'"}',
    "string stream": b'{"model":"m","stream":"true"}',
    "number stream": b'{"model":"m","stream":1}',
    "NaN": b'{"model":"m","temperature":NaN}',
    "Infinity": b'{"model":"m","temperature":-Infinity}',
    "lone surrogate": b'{"model":"\\ud800"}',
    "deep arrays": b'{"model":"m","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "only brackets": b"[" * 100_000,
    "huge number model": b'{"model":' + b"9" * 100_000 + b"}",
    "bad UTF-8 model": b'{"model":"\xff\xfe"}',
    "UTF-16": '{"model":"m"}'.encode("utf-16"),
    "BOM": b'\xef\xbb\xbf{"model":"m"}',
    "trailing": b'{"model":"m"} x',
    "two": b'{"model":"m"}{"model":"m"}',
    "form": b"model=m",
    "NUL": b"\x00" * 100,
    "10 MB of blanks": b" " * 10_000_000,
}


@pytest.mark.parametrize("path", HOT_PATHS)
async def test_poison_is_a_4xx(rig: Rig, it: Worker, path: str) -> None:
    """Whatever is no request is the client's fault, in OpenAI's words; it reaches no worker and leaves nothing."""
    for name, body in POISON.items():
        got = await rig.chat(body, path)
        assert 400 <= got.status_code < 500, (name, got.text[:200])
        assert set(got.json()["error"]) == {"message", "type", "param", "code"}, name
        assert len(got.content) < 1000, name
        assert rig.replica.in_flight() == {}, name
    assert it.seen == []


async def test_what_only_a_worker_can_judge_passes(rig: Rig, it: Worker) -> None:
    """Fields that do not concern this server go to the worker unchanged, odd ones too."""
    bodies = [
        b'{"model":"m","n":%b}' % (b"9" * 1000),
        b'{"model":"m","messages":null,"x":1e400}',
        b'{"model":"m","x":' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"model":"m","x":"' + b"y" * 10_000_000 + b'"}',
    ]
    for body in bodies:
        assert (await rig.chat(body)).status_code == 200
    assert [seen.body for seen in it.seen] == bodies


async def test_a_body_too_large(it: Worker) -> None:
    """The bound of the settings holds, with and without an announced length; the next request is served."""
    settings = ApiServerSettings(max_body_bytes=1000)

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b" " * 200

    async with api_server(it.address, settings=settings) as rig:
        for content in (b" " * 1001, parts()):
            got = await rig.http.post(CHAT, content=content, headers=JSON)
            assert (got.status_code, got.json()["error"]["code"]) == (413, "body_too_large")
        assert (await rig.chat(BODY.ljust(1000))).status_code == 200


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "text/plain", "application/x-www-form-urlencoded"])
async def test_other_media_types(rig: Rig, kind: str) -> None:
    """Only JSON is taken."""
    got = await rig.http.post(CHAT, content=BODY, headers={"content-type": kind})
    assert (got.status_code, got.json()["error"]["code"]) == (415, "unsupported_media_type")


async def test_a_client_that_leaves_in_its_body(rig: Rig, it: Worker, caplog: pytest.LogCaptureFixture) -> None:
    """Half a request is nobody's error, and reaches nobody."""
    at = urlsplit(rig.url)
    _, writer = await asyncio.open_connection(at.hostname, at.port)
    writer.write(
        b"POST %b HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{" % CHAT.encode()
    )
    await writer.drain()
    writer.close()
    caplog.set_level("INFO")
    await until(lambda: any("left before" in record.getMessage() for record in caplog.records))
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert it.seen == []


async def test_keys_guard_everything(it: Worker) -> None:
    """Every route but health asks for a key, new routes included, whatever the method."""
    parts = make_parts(KEYS, ClusterToken(""))
    app = create_app(KEYS, parts)
    assert isinstance(app, HotPath)
    listed = [route.path for route in app._rest.routes if isinstance(route, APIRoute | Route)]  # type: ignore[attr-defined]
    assert set(HOT_PATHS) <= set(listed)
    async with api_server(it.address, settings=KEYS) as rig:
        for path in {*listed, "/nowhere", "/v1/chat/completions/", "//v1/models"} - set(OPEN_PATHS):
            for method in ("GET", "POST", "OPTIONS", "HEAD", "DELETE"):
                for headers in ({}, {"authorization": "Bearer wrong"}):
                    got = await rig.http.request(method, path, headers=headers)
                    assert got.status_code == 401, (method, path)
        assert (await rig.chat()).json()["error"]["code"] == "invalid_api_key"
        assert (await rig.chat(authorization="Bearer k2")).status_code == 200
        assert (await rig.http.get("/v1/models", headers={"authorization": "Bearer k1"})).status_code == 200
        assert (await rig.http.get("/health")).status_code == 200
    assert len(it.seen) == 1


async def test_a_wrong_key_is_told_before_the_body(it: Worker) -> None:
    """A stranger's body is not read."""
    async with api_server(it.address, settings=KEYS) as rig:
        at = urlsplit(rig.url)
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        writer.write(
            b"POST %b HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"
            % CHAT.encode()
        )
        assert b" 401 " in await asyncio.wait_for(reader.readline(), 5)
        writer.close()


async def test_models(rig: Rig, it: Worker) -> None:
    """The list and the cards are OpenAI's; names may hold slashes; unknown ones are 404."""
    rig.register(it.address, model="org/name")
    card = {"id": "org/name", "created": 7, "object": "model", "owned_by": "baton"}
    assert (await rig.http.get("/v1/models")).json() == {"object": "list", "data": [card]}
    assert (await rig.http.get("/v1/models/org/name")).json() == card
    unknown = await rig.http.get("/v1/models/none")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")


async def test_unknown_and_lost_models(rig: Rig) -> None:
    """404 for what nobody serves, 503 with a time to come back for what lost its workers."""
    unknown = await rig.chat(b'{"model":"none"}')
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (404, "model")
    rig.register()
    lost = await rig.chat()
    assert (lost.status_code, lost.json()["error"]["code"]) == (503, "no_worker_available")
    assert int(lost.headers["retry-after"]) > 0


async def test_health_ready_version(rig: Rig) -> None:
    """Health is the process, ready is a worker that takes requests."""
    assert (await rig.http.get("/version")).json() == {"version": __version__}
    assert [(await rig.http.get(path)).status_code for path in ("/health", "/ready")] == [200, 200]
    rig.register()
    assert [(await rig.http.get(path)).status_code for path in ("/health", "/ready")] == [200, 503]


@pytest.mark.parametrize("origins", [(), ("http://page.example",)])
async def test_unknown_routes_and_methods(it: Worker, origins: tuple[str, ...]) -> None:
    """404 and 405 in OpenAI's shape, on the hot paths too, with and without CORS."""
    async with api_server(it.address, settings=ApiServerSettings(allowed_origins=origins)) as rig:
        for method, path, code in [
            ("GET", CHAT, "method_not_allowed"),
            ("PUT", CHAT, "method_not_allowed"),
            ("POST", "/v1/models", "method_not_allowed"),
            ("POST", CHAT + "/", "route_not_found"),
            ("POST", "/v1/nothing", "route_not_found"),
            ("GET", "/", "route_not_found"),
        ]:
            got = await rig.http.request(method, path, content=BODY, headers=JSON)
            assert got.json()["error"]["code"] == code, (method, path)
        assert (await rig.chat()).status_code == 200


async def test_cors(it: Worker) -> None:
    """Only pages of an allowed origin may call, with a preflight that needs no key; they can read errors too."""
    settings = ApiServerSettings(allowed_origins=("http://page.example",), api_keys=("k",))
    async with api_server(it.address, settings=settings) as rig:
        asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
        allowed = await rig.http.options(CHAT, headers={"origin": "http://page.example", **asks})
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "http://page.example"
        for origin in ("http://evil.example", "null", "http://page.example.evil"):
            refused = await rig.http.options(CHAT, headers={"origin": origin, **asks})
            assert "access-control-allow-origin" not in refused.headers
        for key, status in (("k", 200), ("wrong", 401)):
            got = await rig.chat(origin="http://page.example", authorization=f"Bearer {key}")
            assert (got.status_code, got.headers["access-control-allow-origin"]) == (status, "http://page.example")


async def test_without_cors_no_page_may_call(rig: Rig) -> None:
    """By default no header lets a page in."""
    got = await rig.chat(origin="http://page.example")
    assert not [name for name in got.headers if name.startswith("access-control")]


async def test_no_task_or_memory_is_left_behind(rig: Rig) -> None:
    """After many requests the server has the tasks that it had before."""
    for _ in range(20):
        await rig.chat()
    gc.collect()
    before = len(asyncio.all_tasks())
    for _ in range(300):
        assert (await rig.chat()).status_code == 200
    assert len(asyncio.all_tasks()) <= before + 2


async def test_a_websocket_is_refused(rig: Rig) -> None:
    """The hot paths speak HTTP only; a WebSocket there is refused, not an error."""
    with pytest.raises(Exception, match="403"):
        await connect(rig.url.replace("http", "ws") + CHAT)


async def test_a_real_process() -> None:
    """`python -m api_server` is healthy without a controller, and ends with 0 on SIGTERM."""
    port, began = free_port(), time.monotonic()
    flags = ("--port", str(port), "--controller-address", f"http://127.0.0.1:{free_port()}")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api_server", *flags, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            while not await answers(client):
                assert time.monotonic() - began < 20
                await asyncio.sleep(0.02)
            assert (await client.get("/ready")).status_code == 503
            got = await client.post(CHAT, content=BODY, headers=JSON)
            assert json.loads(got.content)["error"]["code"] == "no_worker_available"
        process.send_signal(signal.SIGTERM)
        _, err = await asyncio.wait_for(process.communicate(), 10)
        assert process.returncode == 0
        assert b"Traceback" not in err
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health")).status_code == 200
    except httpx.TransportError:
        return False
