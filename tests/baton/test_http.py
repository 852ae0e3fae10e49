"""What every app has: errors in one shape, a door, bounded bodies."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
from fastapi import FastAPI, Request, Response, WebSocket
from starlette.types import Message, Receive, Scope, Send
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from baton.auth import ClusterToken
from baton.errors import OverloadedError
from baton.http import EXCEPTION_HANDLERS, Door, read_json
from tests.baton.running import running


class Sum(msgspec.Struct):
    left: int
    right: int


def make_app(secret: str = "s3cret") -> FastAPI:
    app = FastAPI(redirect_slashes=False, exception_handlers=dict(EXCEPTION_HANDLERS))
    app.add_middleware(Door, secret=ClusterToken(secret), open_paths=("/health",), refusal="token, please")

    @app.get("/health")
    async def health() -> Response:
        return Response("open")

    @app.get("/inside")
    async def inside() -> Response:
        return Response("inside")

    @app.post("/sum")
    async def add(request: Request) -> dict[str, int]:
        terms = await read_json(request, Sum, limit=10_000)
        return {"sum": terms.left + terms.right}

    @app.get("/busy")
    async def busy() -> Response:
        raise OverloadedError("too much", retry_after=4)

    @app.get("/bug")
    async def bug() -> Response:
        raise RuntimeError("/secret/path")

    @app.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("inside")
        await socket.close()

    return app


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with running(make_app()) as url:
        yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, headers={"authorization": "Bearer s3cret"}) as client:
        yield client


async def raw(url: str, request: bytes) -> bytes:
    """What the server says to these very bytes."""
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write(request)
    reply = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return reply


TARGETS = ["/inside", "/inside/", "//inside", "/health/", "/health/../inside", "/%69nside"]
METHODS = ["GET", "HEAD", "POST", "OPTIONS", "PATCH"]
HOSTS = ["h", "h/health?x=", "h/health#", "/health"]


async def test_nobody_without_the_secret_passes(url: str) -> None:
    """Neither an odd path nor an odd Host header nor another method opens the door."""
    for method, target, host in itertools.product(METHODS, TARGETS, HOSTS):
        request = f"{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        reply = await raw(url, request.encode())
        assert reply.startswith(b"HTTP/1.1 401 "), (request, reply)


async def test_absolute_targets_do_not_open_the_door(url: str) -> None:
    """A target in absolute form is judged by its path too."""
    for target in (f"{url}/inside", f"{url}/health/../inside", "http://x/inside"):
        reply = await raw(url, f"GET {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n".encode())
        assert reply.split(b" ", 2)[1] in (b"400", b"401"), reply


async def test_open_paths_and_the_secret(url: str, client: httpx.AsyncClient) -> None:
    """Open paths need nothing; all else opens with the secret."""
    async with httpx.AsyncClient(base_url=url) as stranger:
        assert (await stranger.get("/health")).text == "open"
        refused = await stranger.get("/inside")
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "invalid_api_key"
    assert (await client.get("/inside")).text == "inside"


async def test_a_socket_needs_the_secret(url: str) -> None:
    """A WebSocket without the secret is refused at its handshake, one with it is served."""
    address = url.replace("http", "ws") + "/socket"
    with pytest.raises(InvalidStatus) as refused:
        await connect(address)
    assert refused.value.response.status_code == 403
    async with connect(address, additional_headers={"authorization": "Bearer s3cret"}) as socket:
        assert await socket.recv() == "inside"


async def test_a_page_in_a_browser_opens_no_socket() -> None:
    """Browsers do not keep pages from other sites' WebSockets: what names an Origin is refused, token or not."""
    async with running(make_app(secret="")) as url:
        with pytest.raises(InvalidStatus):
            await connect(url.replace("http", "ws") + "/socket", origin="http://evil.example")  # type: ignore[arg-type]


async def test_a_slash_too_many_is_an_unknown_route(client: httpx.AsyncClient) -> None:
    """No redirect is built from a Host header."""
    reply = await client.get("/inside/", headers={"host": "evil.example"})
    assert reply.status_code == 404
    assert "evil" not in str(reply.headers)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "route_not_found"),
        ("POST", "/inside", 405, "method_not_allowed"),
        ("DELETE", "/sum", 405, "method_not_allowed"),
        ("GET", "/busy", 503, "overloaded"),
        ("GET", "/bug", 500, "internal_error"),
    ],
)
async def test_every_failure_has_openais_body(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    """Unknown routes, wrong methods, our errors and bugs look alike, and tell nothing of the inside."""
    reply = await client.request(method, path)
    assert reply.status_code == status
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert reply.json()["error"]["code"] == code
    assert "secret" not in reply.text


async def test_retry_after_is_a_header(client: httpx.AsyncClient) -> None:
    """A client learns when to come back."""
    assert (await client.get("/busy")).headers["retry-after"] == "4"


async def test_read_json(client: httpx.AsyncClient) -> None:
    """A good body arrives as its type; the media type may have parameters."""
    assert (await client.post("/sum", json={"left": 1, "right": 2})).json() == {"sum": 3}
    kind = {"content-type": "Application/JSON; charset=utf-8"}
    assert (await client.post("/sum", content=b'{"left":1,"right":2}', headers=kind)).json() == {"sum": 3}


BAD_BODIES = [
    (b"", 400, "invalid_json"),
    (b"{", 400, "invalid_json"),
    (b"\xff\xfe", 400, "invalid_json"),
    (b'{"left":1,"x":"\xff"}', 400, None),
    (b"[" * 9_000, 400, None),
    (b'{"left":1,"x":' + b"[" * 9_000, 400, "invalid_json"),
    (b"null", 400, "invalid_value"),
    (b"{}", 400, "invalid_value"),
    (b'{"left":"1","right":2}', 400, "invalid_value"),
    (b'{"left":1e400,"right":2}', 400, None),
    (b" " * 10_001, 413, "body_too_large"),
]


@pytest.mark.parametrize(("body", "status", "code"), BAD_BODIES, ids=lambda value: str(value)[:30])
async def test_read_json_refuses(client: httpx.AsyncClient, body: bytes, status: int, code: str | None) -> None:
    """A body that is no JSON, of another shape or too large is the client's fault."""
    reply = await client.post("/sum", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == status
    assert reply.json()["error"]["code"] == code or code is None


@pytest.mark.parametrize(
    "kind", ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", ""]
)
async def test_only_json_is_taken(client: httpx.AsyncClient, kind: str) -> None:
    """A page in a browser can send these types, or none, to other sites without asking first."""
    headers = {"content-type": kind} if kind else {}
    reply = await client.post("/sum", content=b'{"left":1,"right":2}', headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (415, "unsupported_media_type")


async def test_a_body_without_end_is_cut_off(url: str) -> None:
    """A chunked body is counted as it comes, not when it is over."""
    head = b"POST /sum HTTP/1.1\r\nhost: h\r\nauthorization: Bearer s3cret\r\ncontent-type: application/json\r\n"
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write(head + b"transfer-encoding: chunked\r\n\r\n" + b"4000\r\n" + b" " * 0x4000 + b"\r\n")
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 5)
    writer.close()


async def test_a_client_that_leaves_in_its_body_is_no_bug(caplog: pytest.LogCaptureFixture) -> None:
    """Leaving is the client's right: nothing is logged as an error of ours."""
    ended = asyncio.Event()
    inner = make_app("")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await inner(scope, receive, send)
        finally:
            if scope["type"] == "http":
                ended.set()

    async with running(app) as url:
        _, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
        writer.write(b"POST /sum HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{")
        await writer.drain()
        writer.close()
        await asyncio.wait_for(ended.wait(), 5)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_lifespan_passes_the_door() -> None:
    """The door is no obstacle to an app's start."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        seen.append(scope["type"])

    async def receive() -> Message:
        return {}

    async def send(_: Message) -> None:
        return

    await Door(app, ClusterToken("x"), (), "no")({"type": "lifespan"}, receive, send)
    assert seen == ["lifespan"]


def test_a_refusal_is_json() -> None:
    """The refusal's body parses."""
    assert json.loads(OverloadedError("x").body())
