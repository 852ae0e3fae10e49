"""Splitting a stream into whole events."""

import random
import time

import pytest

from baton.sse import DONE, EventSplitter, event

STREAM = b"".join(event(b'{"n":%d,"t":"a\\n\\nb"}' % n) for n in range(40)) + b": ping\n\n" + DONE


def feed_in_pieces(stream: bytes, rng: random.Random, longest: int) -> tuple[list[bytes], bytes]:
    splitter, outputs, at = EventSplitter(), [], 0
    while at < len(stream):
        size = rng.randint(1, longest)
        outputs.append(splitter.feed(stream[at : at + size]))
        at += size
    return outputs, splitter.rest()


@pytest.mark.parametrize("longest", [1, 2, 3, 7, 50, 500])
@pytest.mark.parametrize("line", [b"\n", b"\r\n"])
def test_random_cuts(longest: int, line: bytes) -> None:
    """However a stream is cut, nothing is lost or added, and every output ends with an event."""
    rng = random.Random(longest)
    for _ in range(60):
        stream = STREAM[: rng.randint(0, len(STREAM))].replace(b"\n", line)
        outputs, rest = feed_in_pieces(stream, rng, longest)
        assert b"".join(outputs) + rest == stream
        assert all(output.endswith(line * 2) for output in outputs if output)
        assert line * 2 not in rest


def test_an_event_is_passed_on_as_soon_as_it_is_whole() -> None:
    """Nothing waits for the next event."""
    splitter = EventSplitter()
    assert splitter.feed(b"data: 1\n\ndata: 2\n") == b"data: 1\n\n"
    assert splitter.feed(b"\n") == b"data: 2\n\n"
    assert splitter.rest() == b""


def test_a_border_between_two_pieces() -> None:
    """The two ends of line of a border may come in different pieces, and the next event right behind."""
    splitter = EventSplitter()
    assert splitter.feed(b"data: 1\n") == b""
    assert splitter.feed(b"\ndata: 2") == b"data: 1\n\n"
    assert splitter.rest() == b"data: 2"


def test_a_large_event_in_small_pieces_costs_linear_time() -> None:
    """An event of 4 MB in pieces of 64 bytes takes about four times as long as one of 1 MB."""
    times = []
    for size in (1 << 20, 4 << 20):
        splitter = EventSplitter()
        piece = b"x" * 64
        start = time.process_time()
        for _ in range(size // len(piece)):
            assert splitter.feed(piece) == b""
        out = splitter.feed(b"\n\n")
        times.append(time.process_time() - start)
        assert len(out) == size + 2
    assert times[1] < 12 * times[0] + 0.05, times
    assert times[1] < 2.0


def test_event_and_done() -> None:
    """Events are `data:` lines that end with an empty one."""
    assert event(b"{}") == b"data: {}\n\n"
    assert DONE == b"data: [DONE]\n\n"
