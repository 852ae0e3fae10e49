"""The pooled client against workers that do exactly what they are told."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from api_server import connection as connection_module
from api_server import upstream as upstream_module
from api_server.connection import HEAD_LIMIT, PAUSE_ABOVE, UpstreamError, UpstreamSilentError
from api_server.upstream import Upstream
from tests.api_server.scripted import (
    LAST_CHUNK,
    STREAM_HEAD,
    Exchange,
    answer,
    answer_and_close,
    answer_and_reset,
    chunk,
    hang,
    reply,
    worker,
)
from tests.baton.running import free_port, until

HEAD = b"POST /x HTTP/1.1\r\nhost: h\r\n"
LARGE = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream(connect_timeout=1, idle_timeout=600)
    yield upstream
    upstream.close()


async def ask(upstream: Upstream, address: str, body: bytes = b"{}") -> bytes:
    """Status and body of one exchange."""
    with await upstream.post(address, HEAD, body) as got:
        return b"%d " % got.status + await got.read_all(64 << 20)


async def test_the_request_goes_out_as_it_is(upstream: Upstream) -> None:
    """Head and body arrive unchanged, with their length; a large body too."""
    async with worker(answer(reply(b"ok"))) as it:
        assert await ask(upstream, it.address, LARGE) == b"200 ok"
    assert it.seen[0].head == HEAD + b"content-length: %d\r\n\r\n" % len(LARGE)
    assert it.seen[0].body == LARGE


FRAMED = {
    "length": (reply(LARGE),),
    "chunks": (STREAM_HEAD, *(chunk(LARGE[at : at + 1000]) for at in range(0, len(LARGE), 1000)), LAST_CHUNK),
    "chunks with extensions and trailers": (
        STREAM_HEAD,
        b"%x;a=b\r\n" % len(LARGE),
        LARGE,
        b"\r\n0\r\nx: y\r\n\r\n",
    ),
    "after interim replies": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n",
        reply(LARGE),
    ),
    "byte by byte": tuple(reply(b"ok")[at : at + 1] for at in range(len(reply(b"ok")))),
}


@pytest.mark.parametrize("parts", FRAMED.values(), ids=FRAMED)
async def test_every_framing(upstream: Upstream, parts: tuple[bytes, ...]) -> None:
    """The body is the same in every framing, and the connection serves the next request."""
    async with worker(answer(*parts)) as it:
        for _ in range(3):
            assert await ask(upstream, it.address) in (b"200 " + LARGE, b"200 ok")
    assert it.connections == 1


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_body_until_the_end_of_the_connection(upstream: Upstream, version: bytes) -> None:
    """Without length and chunks the body ends with its connection, which is not used again."""
    head = b"HTTP/%b 200 OK\r\ncontent-type: text/plain\r\n\r\n" % version
    async with worker(answer_and_close(head, LARGE)) as it:
        assert await ask(upstream, it.address) == b"200 " + LARGE
        assert await ask(upstream, it.address) == b"200 " + LARGE
    assert it.connections == 2


async def test_an_empty_body(upstream: Upstream) -> None:
    """A reply may have no body at all."""
    async with worker(answer(b"HTTP/1.1 204 No Content\r\n\r\n"), answer(reply(b""))) as it:
        assert await ask(upstream, it.address) == b"204 "
        assert await ask(upstream, it.address) == b"200 "


async def test_headers_are_in_lower_case(upstream: Upstream) -> None:
    """Names come in lower case, in their order; those of interim replies are forgotten."""
    interim = b"HTTP/1.1 100 Continue\r\nOld: 1\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nX-One: A\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n"
    async with worker(answer(interim + head)) as it:
        with await upstream.post(it.address, HEAD, b"") as got:
            assert got.headers == [(b"x-one", b"A"), (b"retry-after", b"3"), (b"content-length", b"0")]
            assert got.header(b"retry-after") == b"3"
            assert got.header(b"none") == b""


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        STREAM_HEAD + b"zz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * (HEAD_LIMIT // 4),
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * (2 * HEAD_LIMIT),
    ],
    ids=lambda garbage: repr(garbage[:50]),
)
async def test_what_is_not_http(upstream: Upstream, garbage: bytes) -> None:
    """Garbage, and heads without measure, are an UpstreamError; the connection is dropped."""
    async with worker(answer(garbage)) as it:
        with pytest.raises(UpstreamError):
            await asyncio.wait_for(ask(upstream, it.address), 5)
        await until(lambda: it.open == 0)


STAGES = {
    "before the reply": b"",
    "in the status line": b"HTTP/1.1 2",
    "in the headers": b"HTTP/1.1 200 OK\r\nconte",
    "before the body": reply(b"x")[:-1],
    "in the body": reply(LARGE)[:-1000],
    "before a chunk": STREAM_HEAD,
    "in a chunk": STREAM_HEAD + chunk(b"abc")[:-4],
    "before the last chunk": STREAM_HEAD + chunk(b"abc"),
}


@pytest.mark.parametrize("breaks", [answer_and_close, answer_and_reset])
@pytest.mark.parametrize("sent", STAGES.values(), ids=STAGES)
async def test_a_break_at_any_stage(upstream: Upstream, sent: bytes, breaks: type) -> None:
    """A worker that closes or resets before its reply is whole is an UpstreamError, never a short body."""
    async with worker(breaks(sent)) as it:
        with pytest.raises(UpstreamError):
            await asyncio.wait_for(ask(upstream, it.address), 5)
        assert it.connections == 1


async def test_a_stale_connection_is_tried_again_once(upstream: Upstream) -> None:
    """When a kept connection turns out to be closed, the request goes out on a new one."""
    async with worker(answer(reply(b"one")), answer_and_close(), answer(reply(b"two"))) as it:
        assert await ask(upstream, it.address) == b"200 one"
        assert await ask(upstream, it.address) == b"200 two"
        assert it.connections == 2


async def test_a_stale_connection_is_not_tried_twice(upstream: Upstream) -> None:
    """A new connection that breaks as well is the worker's failure."""
    async with worker(answer(reply(b"one")), answer_and_close()) as it:
        await ask(upstream, it.address)
        with pytest.raises(UpstreamError):
            await ask(upstream, it.address)
        assert len(it.seen) == 3


async def test_a_byte_of_a_reply_forbids_a_second_try(upstream: Upstream) -> None:
    """Once a worker began to answer on a kept connection, the request is not sent again in silence."""
    async with worker(answer(reply(b"one")), answer_and_reset(b"HTTP/1.1 2"), answer(reply(b"two"))) as it:
        await ask(upstream, it.address)
        with pytest.raises(UpstreamError):
            await ask(upstream, it.address)
        assert len(it.seen) == 2


async def test_connection_close_is_honoured(upstream: Upstream) -> None:
    """A worker that announces the end of its connection gets a new one."""
    async with worker(answer(reply(b"ok", more=b"connection: close\r\n"))) as it:
        for _ in range(2):
            assert await ask(upstream, it.address) == b"200 ok"
        assert it.connections == 2


@pytest.mark.parametrize("surplus", [reply(b"EVIL"), b"garbage"])
async def test_surplus_bytes_never_reach_another_request(upstream: Upstream, surplus: bytes) -> None:
    """What a worker sends beyond its reply is thrown away with its connection."""
    async with worker(answer(reply(b"good") + surplus)) as it:
        for _ in range(3):
            assert await ask(upstream, it.address) == b"200 good"
        assert it.connections == 3


async def test_bytes_on_an_idle_connection_end_it(upstream: Upstream) -> None:
    """A reply that nobody asked for does not answer the next request."""
    async with worker(answer(reply(b"good"))) as it:
        assert await ask(upstream, it.address) == b"200 good"
        await it.seen[0].send(reply(b"EVIL"))
        await until(lambda: it.open == 0)
        assert await ask(upstream, it.address) == b"200 good"


async def test_no_connection(upstream: Upstream) -> None:
    """A refused connection, an impossible port, an unknown name: each is an UpstreamError."""
    for address in (f"http://127.0.0.1:{free_port()}", "http://127.0.0.1:99999", "http://a..b:1", "http://no.invalid"):
        with pytest.raises(UpstreamError, match="no connection"):
            await ask(upstream, address)


async def test_connecting_has_a_bound() -> None:
    """A host that swallows packets costs the time of the settings, not more."""
    upstream = Upstream(connect_timeout=0.05, idle_timeout=600)
    with pytest.raises(UpstreamError, match="no connection"):
        await asyncio.wait_for(ask(upstream, "http://192.0.2.1:9"), 5)


@pytest.mark.parametrize("sent", [b"", STREAM_HEAD, reply(b"ab")[:-1]], ids=["head", "chunk", "body"])
async def test_a_silent_worker(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence longer than allowed is an UpstreamSilentError at every stage, and ends the connection."""
    monkeypatch.setattr(upstream_module, "SWEEP", 0.02)
    upstream = Upstream(connect_timeout=1, idle_timeout=0.1)
    sweeping = asyncio.create_task(upstream.sweep())

    async def then_hang(exchange: Exchange) -> None:
        await exchange.send(sent)
        await hang(exchange)

    async with worker(then_hang) as it:
        with pytest.raises(UpstreamSilentError):
            await asyncio.wait_for(ask(upstream, it.address), 5)
        await until(lambda: it.open == 0)
    sweeping.cancel()


async def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that nobody uses is closed before its worker would close it."""
    monkeypatch.setattr(upstream_module, "SWEEP", 0.02)
    monkeypatch.setattr(upstream_module, "MAX_IDLE", 0.1)
    upstream = Upstream(connect_timeout=1, idle_timeout=1)
    sweeping = asyncio.create_task(upstream.sweep())
    async with worker(answer(reply(b"ok"))) as it:
        await ask(upstream, it.address)
        assert it.open == 1
        await until(lambda: it.open == 0)
        assert await ask(upstream, it.address) == b"200 ok"
    sweeping.cancel()


async def test_an_unread_reply_stops_its_worker(upstream: Upstream) -> None:
    """Nobody reads: the worker can send no more than the buffers hold; afterwards all arrives, in order."""
    sent, total = 0, 64

    async def pour(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(STREAM_HEAD)
        for _ in range(total):
            await exchange.send(chunk(LARGE))
            sent += 1
        await exchange.send(LAST_CHUNK)

    async with worker(pour) as it:
        with await upstream.post(it.address, HEAD, b"") as got:
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.2)
            assert sent < 32, "the worker was never stopped"
            size = 0
            while data := await asyncio.wait_for(got.read(), 5):
                assert len(data) <= PAUSE_ABOVE + (1 << 20)
                size += len(data)
            assert size == total * len(LARGE)
        assert await asyncio.wait_for(ask(upstream, it.address), 20) == b"200 " + LARGE * total
    assert it.connections == 1


async def test_a_reply_with_bytes_left_is_not_kept(upstream: Upstream) -> None:
    """Who leaves a whole but unread reply takes its connection along: the next request must not wait on it."""
    async with worker(answer(reply(LARGE))) as it:
        with await upstream.post(it.address, HEAD, b""):
            await asyncio.sleep(0.05)
        assert await asyncio.wait_for(ask(upstream, it.address), 5) == b"200 " + LARGE
        assert it.connections == 2


async def test_garbage_behind_a_large_body(upstream: Upstream) -> None:
    """A connection that fails while much of it is unread gives what came, then the error."""
    parts = STREAM_HEAD + chunk(b"x" * (PAUSE_ABOVE - 100)) + chunk(b"y" * 200) + b"zz\r\n"
    async with worker(answer(parts)) as it:
        with await upstream.post(it.address, HEAD, b"") as got, pytest.raises(UpstreamError):
            while await asyncio.wait_for(got.read(), 5):
                pass


async def test_cancelling_ends_the_exchange(upstream: Upstream) -> None:
    """A request that nobody waits for any more is closed at its worker at once."""
    async with worker(hang) as it:
        asking = asyncio.create_task(ask(upstream, it.address))
        await until(lambda: it.seen)
        asking.cancel()
        await asyncio.wait_for(it.seen[0].client_left.wait(), 1)
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_parallel_requests_have_their_own_connections(upstream: Upstream) -> None:
    """Many at once get the right replies each; afterwards the connections are shared."""

    async def echo(exchange: Exchange) -> None:
        await exchange.send(reply(exchange.body))

    async with worker(echo) as it:
        bodies = [b"%d" % number for number in range(200)]
        for _ in range(3):
            got = await asyncio.gather(*(ask(upstream, it.address, body) for body in bodies))
            assert got == [b"200 " + body for body in bodies]
        assert it.connections <= 200


async def test_a_reply_has_a_bound(upstream: Upstream) -> None:
    """A whole reply larger than the caller takes is an UpstreamError."""
    async with worker(answer(reply(LARGE))) as it:
        with await upstream.post(it.address, HEAD, b"") as got, pytest.raises(UpstreamError, match="larger"):
            await got.read_all(1000)


def test_the_limits_are_sane() -> None:
    """The head's bound is far above what servers send, and below what would hurt."""
    assert 16 << 10 <= connection_module.HEAD_LIMIT <= 1 << 20
