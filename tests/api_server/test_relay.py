"""A request's life: passed through unchanged, retried while nobody has seen a byte, ended when its client leaves."""

import asyncio
import json
import random
from urllib.parse import urlsplit

import pytest

from api_server import relay as relay_module
from api_server import upstream as upstream_module
from api_server.settings import ApiServerSettings
from baton.sse import DONE, event
from baton.wire import VIA_HEADER
from tests.api_server.rig import BODY, CHAT, STREAMED, Rig, api_server
from tests.api_server.scripted import (
    LAST_CHUNK,
    STREAM_HEAD,
    Exchange,
    Script,
    answer,
    answer_and_close,
    answer_and_reset,
    chunk,
    hang,
    reply,
    stream,
    worker,
)
from tests.baton.running import free_port, until

EVENTS = (event(b'{"n":1}'), event(b'{"n":2}'), event(b'{"n":3}'), DONE)
GOOD = answer(reply(b'{"good":1}'))


def raw_request(body: bytes, more: bytes = b"") -> bytes:
    head = b"POST %b HTTP/1.1\r\nhost: h\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (CHAT.encode(), more, len(body)) + body


def idle(rig: Rig) -> bool:
    return rig.replica.in_flight() == {}


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
async def test_a_whole_reply_is_passed_on_unchanged(path: str) -> None:
    """The worker gets the client's bytes, the client gets the worker's."""
    body = b'{ "x" : "\xe4\xb8\xad",\n "y": 1.0 }'
    async with worker(answer(reply(body, more=b"server: w\r\n"))) as it, api_server(it.address) as rig:
        got = await rig.chat(path=path)
        assert (got.status_code, got.content) == (200, body)
        assert got.headers["content-type"] == "application/json"
        assert "server" not in got.headers
        assert it.seen[0].body == BODY
        assert it.seen[0].head.startswith(b"POST %b HTTP/1.1\r\n" % path.encode())
        assert idle(rig)


CUTS = [1, 7, 20, 1000]


@pytest.mark.parametrize("size", CUTS)
async def test_a_stream_is_passed_on_unchanged(size: int) -> None:
    """However a worker cuts its stream, the client gets the same bytes, with a stream's headers."""
    whole = b"".join(EVENTS)
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    async with worker(answer(stream(*pieces))) as it, api_server(it.address) as rig:
        got = await rig.chat(STREAMED)
        assert got.content == whole
        assert got.headers["content-type"] == "text/event-stream"
        assert got.headers["cache-control"] == "no-cache"
        assert got.headers["x-accel-buffering"] == "no"
        assert idle(rig)


async def test_a_stream_that_ends_without_a_border() -> None:
    """The last bytes of a stream that ended well are passed on, whatever they are."""
    async with worker(answer(stream(EVENTS[0], b"data: [DONE]\n"))) as it, api_server(it.address) as rig:
        assert (await rig.chat(STREAMED)).content == EVENTS[0] + b"data: [DONE]\n"


async def test_lines_that_end_with_crlf() -> None:
    """Some servers end their lines so; their events are passed on as they come."""
    one, two = b"data: 1\r\n\r\n", b"data: 2\r\n\r\n"
    gate = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.send(STREAM_HEAD, chunk(one))
        await gate.wait()
        await exchange.send(chunk(two), LAST_CHUNK)

    async with (
        worker(script) as it,
        api_server(it.address) as rig,
        rig.http.stream("POST", CHAT, content=STREAMED, headers={"content-type": "application/json"}) as got,
    ):
        parts = got.aiter_raw()
        assert await anext(parts) == one
        gate.set()
        assert b"".join([part async for part in parts]) == two


async def test_events_arrive_while_the_worker_works() -> None:
    """Nothing is held back: an event is with the client before the next one exists."""
    gates = [asyncio.Event() for _ in EVENTS]

    async def script(exchange: Exchange) -> None:
        await exchange.send(STREAM_HEAD)
        for gate, each in zip(gates, EVENTS, strict=True):
            await gate.wait()
            await exchange.send(chunk(each))
        await exchange.send(LAST_CHUNK)

    async with worker(script) as it, api_server(it.address) as rig:
        gates[0].set()
        async with rig.http.stream("POST", CHAT, content=STREAMED, headers={"content-type": "application/json"}) as got:
            parts = got.aiter_raw()
            for at, each in enumerate(EVENTS):
                gates[at].set()
                assert await asyncio.wait_for(anext(parts), 5) == each
        await until(lambda: idle(rig))


async def test_what_a_worker_is_told() -> None:
    """The worker gets host, type, the cluster token, who sends it and the request's id; not the client's key."""
    settings = ApiServerSettings(api_keys=("client-key",))
    async with worker(GOOD) as it, api_server(it.address, settings=settings) as rig:
        got = await rig.chat(authorization="Bearer client-key", x_request_id="my-id", cookie="c=1")
        assert got.headers["x-request-id"] == "my-id"
        sent = it.seen[0]
    assert sent.header(b"x-request-id") == b"my-id"
    assert sent.header(b"host").decode() == it.address.partition("//")[2]
    assert sent.header(b"authorization") == b"Bearer s3cret"
    assert sent.header(b"content-type") == b"application/json"
    assert sent.header(VIA_HEADER.encode())
    assert b"client-key" not in sent.head
    assert b"cookie" not in sent.head


async def test_a_request_gets_an_id() -> None:
    """Every answer names its request, errors too."""
    async with worker(GOOD) as it, api_server(it.address) as rig:
        ids = {(await rig.chat()).headers["x-request-id"] for _ in range(3)}
        ids.add((await rig.chat(b"{")).headers["x-request-id"])
        assert len(ids) == 4


@pytest.mark.parametrize("status", [b"400 Bad Request", b"404 Not Found", b"413 Too Large", b"422 No", b"429 Wait"])
async def test_a_clients_fault_is_not_tried_elsewhere(status: bytes) -> None:
    """A worker's 4xx is the answer: passed on with its body and its Retry-After, met by one worker only."""
    no = answer(reply(b'{"error":1}', status, more=b"retry-after: 9\r\n"))
    async with worker(no) as bad, worker(GOOD) as good, api_server(bad.address, good.address) as rig:
        got = await rig.chat()
        assert (got.status_code, got.content) == (int(status[:3]), b'{"error":1}')
        assert got.headers["retry-after"] == "9"
        assert good.seen == []
        assert idle(rig)


FAILURES: dict[str, Script] = {
    "500": answer(reply(b"boom", b"500 Oops")),
    "503": answer(reply(b"crowd", b"503 Busy")),
    "401": answer(reply(b"who", b"401 No")),
    "403": answer(reply(b"who", b"403 No")),
    "close": answer_and_close(),
    "reset": answer_and_reset(),
    "garbage": answer(b"SMTP ready\r\n\r\n"),
    "half a head": answer_and_reset(b"HTTP/1.1 200 OK\r\n"),
    "empty stream": answer(stream()),
    "stream that breaks at once": answer_and_reset(STREAM_HEAD),
    "half an event": answer_and_reset(STREAM_HEAD + chunk(b"data: {")),
    "half a body": answer_and_reset(reply(b"x" * 1000)[:-10]),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("body", [BODY, STREAMED], ids=["whole", "streamed"])
async def test_another_worker_takes_over_before_the_first_byte(failure: Script, body: bytes) -> None:
    """Whatever goes wrong before the client has a byte: another worker answers, with the same request."""
    async with worker(failure) as bad, worker(GOOD) as good, api_server(bad.address, good.address) as rig:
        got = await rig.chat(body)
        assert (got.status_code, got.content) == (200, b'{"good":1}')
        assert [it.seen[0].body for it in (bad, good)] == [body, body]
        assert len(bad.seen) == 1
        assert idle(rig)


async def test_a_worker_that_cannot_be_reached_is_passed_over() -> None:
    """A refused connection, a port or a name that cannot be: the next one answers."""
    dead = [f"http://127.0.0.1:{free_port()}", "http://127.0.0.1:99999"]
    async with worker(GOOD) as good, api_server(*dead, good.address) as rig:
        assert (await rig.chat()).status_code == 200
        assert idle(rig)


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        ("500", 502, "worker_failed"),
        ("503", 503, "overloaded"),
        ("401", 502, "worker_failed"),
        ("reset", 502, "worker_failed"),
    ],
)
async def test_when_all_fail(failure: str, status: int, code: str) -> None:
    """The client gets an error of ours, with nothing of the worker's words or address; never its 401."""
    script = FAILURES[failure]
    async with worker(script) as one, worker(script) as two, api_server(one.address, two.address) as rig:
        got = await rig.chat()
        assert (got.status_code, got.json()["error"]["code"]) == (status, code)
        assert not any(word in got.text for word in ("127.0.0.1", "boom", "crowd", "who"))
        assert (len(one.seen), len(two.seen)) == (1, 1)
        assert idle(rig)


async def test_retry_after_of_a_busy_worker() -> None:
    """What a full worker says of the time to wait reaches the client."""
    busy = answer(reply(b"", b"503 Busy", more=b"retry-after: 11\r\n"))
    async with worker(busy) as it, api_server(it.address) as rig:
        assert (await rig.chat()).headers["retry-after"] == "11"


async def test_attempts_are_bounded() -> None:
    """No more workers are tried than the settings say."""
    settings = ApiServerSettings(max_attempts=2)
    bad = FAILURES["500"]
    async with worker(bad) as a, worker(bad) as b, worker(GOOD) as c:
        async with api_server(a.address, b.address, c.address, settings=settings) as rig:
            assert (await rig.chat()).status_code == 502
        assert c.seen == []


@pytest.mark.parametrize("breaks", [answer_and_close, answer_and_reset])
@pytest.mark.parametrize("rest", [b"", b"data: {half", b"data: {half}\n"])
async def test_a_stream_that_broke_ends_in_an_error_event(breaks: type, rest: bytes) -> None:
    """After the first byte nobody takes over: whole events, then an error event, then the end. Never half an event."""
    script: Script = breaks(STREAM_HEAD + chunk(EVENTS[0]) + chunk(EVENTS[1] + rest))
    async with worker(script) as bad, worker(GOOD) as good, api_server(bad.address, good.address) as rig:
        got = (await rig.chat(STREAMED)).content
        assert got.startswith(EVENTS[0] + EVENTS[1] + b'data: {"error":')
        assert got.endswith(b"\n\n" + DONE)
        error = json.loads(got.split(b"\n\n")[2].removeprefix(b"data: "))
        assert error["error"]["code"] == "worker_failed"
        assert good.seen == []
        assert idle(rig)


async def test_a_silent_worker_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that says nothing for too long costs its turn; when all do, the client gets 504."""
    monkeypatch.setattr(upstream_module, "SWEEP", 0.02)
    settings = ApiServerSettings(idle_timeout=0.15)
    async with worker(hang) as bad, worker(GOOD) as good:
        async with api_server(bad.address, good.address, settings=settings) as rig:
            assert (await rig.chat()).status_code == 200
        async with api_server(bad.address, settings=settings) as rig:
            got = await rig.chat()
            assert (got.status_code, got.json()["error"]["code"]) == (504, "worker_timeout")
            assert idle(rig)


@pytest.mark.parametrize("origins", [(), ("*",)])
@pytest.mark.parametrize("begun", [b"", STREAM_HEAD + chunk(EVENTS[0]), reply(b"x" * 1000)[:-10]])
async def test_a_client_that_leaves_ends_the_request(begun: bytes, origins: tuple[str, ...]) -> None:
    """The worker's connection is closed at once, at every stage, and nothing is under way any more."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(begun)
        await hang(exchange)

    settings = ApiServerSettings(allowed_origins=origins)
    async with worker(script) as it, api_server(it.address, settings=settings) as rig:
        at = urlsplit(rig.url)
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        writer.write(raw_request(STREAMED))
        await until(lambda: it.seen)
        if begun.startswith(STREAM_HEAD):
            await reader.readuntil(EVENTS[0])
        assert rig.replica.in_flight() == {it.address: 1}
        writer.close()
        await asyncio.wait_for(it.seen[0].client_left.wait(), 1)
        await until(lambda: idle(rig))
        assert len(it.seen) == 1


async def test_in_flight_is_counted_by_worker() -> None:
    """Requests count from their dispatch to their end."""
    gate = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await gate.wait()
        await exchange.send(reply(b"{}"))

    async with worker(script) as it, api_server(it.address) as rig:
        asking = [asyncio.create_task(rig.chat()) for _ in range(5)]
        await until(lambda: rig.replica.in_flight() == {it.address: 5})
        gate.set()
        await asyncio.gather(*asking)
        assert idle(rig)


async def test_a_slow_client_stops_its_worker() -> None:
    """A client that does not read makes the worker wait instead of filling our memory; it loses nothing."""
    piece, total = event(b"Z" * (256 << 10)), 128
    sent = 0

    async def script(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(STREAM_HEAD)
        for _ in range(total):
            await exchange.send(chunk(piece))
            sent += 1
        await exchange.send(LAST_CHUNK)

    async with worker(script) as it, api_server(it.address) as rig:
        at = urlsplit(rig.url)
        reader, writer = await asyncio.open_connection(at.hostname, at.port, limit=1 << 16)
        writer.write(raw_request(STREAMED, b"connection: close\r\n"))
        await until(lambda: sent)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        assert sent < total // 2, "the worker was never stopped"
        size = 0
        while data := await asyncio.wait_for(reader.read(1 << 20), 5):
            size += data.count(b"Z")
        assert size == total * (256 << 10)
        writer.close()
        await until(lambda: idle(rig))


async def test_an_event_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that never ends an event does not fill our memory."""
    monkeypatch.setattr(relay_module, "EVENT_LIMIT", 1 << 20)

    async def script(exchange: Exchange) -> None:
        await exchange.send(STREAM_HEAD, chunk(EVENTS[0]))
        while not exchange.client_left.is_set():
            await exchange.send(chunk(b"x" * 65536))

    async with worker(script) as it, api_server(it.address) as rig:
        got = (await rig.chat(STREAMED)).content
        assert got.startswith(EVENTS[0] + b'data: {"error":')


async def test_many_at_once() -> None:
    """A thousand mixed requests over few workers: every answer is right, and nothing is left under way."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(stream(*EVENTS) if b"stream" in exchange.body else reply(exchange.body))

    async with worker(script) as one, worker(script) as two, api_server(one.address, two.address) as rig:
        limit = asyncio.Semaphore(64)

        async def ask(number: int) -> None:
            body = STREAMED if number % 2 else b'{"model":"m","n":%d}' % number
            async with limit:
                got = await rig.chat(body)
            assert got.content == (b"".join(EVENTS) if number % 2 else body)

        await asyncio.gather(*(ask(number) for number in range(1000)))
        assert idle(rig)


async def test_chaos() -> None:
    """Workers fail in every way, clients leave at any time: each answer is whole or an error, nothing leaks."""
    rng = random.Random(9)
    scripts = [*FAILURES.values(), *[answer(stream(*EVENTS))] * 8, answer_and_reset(STREAM_HEAD + chunk(EVENTS[0]))]

    async def script(exchange: Exchange) -> None:
        await rng.choice(scripts)(exchange)

    async with (
        worker(script) as one,
        worker(script) as two,
        worker(script) as three,
        api_server(one.address, two.address, three.address) as rig,
    ):
        limit = asyncio.Semaphore(20)

        async def ask() -> None:
            async with limit:
                if rng.random() < 0.3:
                    await ask_and_leave(rig, rng.random() * 0.02)
                    return
                got = await rig.chat(STREAMED)
            whole = got.content == b"".join(EVENTS)
            broken = got.content.startswith(EVENTS[0] + b'data: {"error":') and got.content.endswith(b"\n\n" + DONE)
            assert whole or broken or got.status_code in (502, 503), (got.status_code, got.content)

        await asyncio.gather(*(ask() for _ in range(400)))
        await until(lambda: idle(rig))
        assert all(each.mine == 0 for each in rig.replica.registry.workers())


async def ask_and_leave(rig: Rig, after: float) -> None:
    at = urlsplit(rig.url)
    _, writer = await asyncio.open_connection(at.hostname, at.port)
    writer.write(raw_request(STREAMED))
    await asyncio.sleep(after)
    writer.transport.abort()
