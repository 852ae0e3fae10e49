"""Workers that die, leave and come back: what clients notice of it."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count

import httpx

from tests.processes import MODEL, Fleet, events, piece, text_of, until

STEADY = ("--tokens-per-second", "50")  # slow enough that a stream of some hundred tokens is open while things happen


def test_without_a_worker_clients_are_told_to_come_back(fleet: Fleet) -> None:
    """A killed model is 503 with Retry-After, never 404, until its worker is back; then requests work again."""
    worker = fleet.worker("a")
    worker.kill()
    until(lambda: fleet.http.get("/ready").status_code == 503, "the API server is not ready")
    for reply in (fleet.ask("hi"), fleet.ask("hi", stream=True)):
        assert reply.status_code == 503, reply.text
        assert reply.json()["error"]["code"] == "no_worker_available"
        assert int(reply.headers["retry-after"]) > 0
    worker.serve()
    fleet.until_served(MODEL)
    assert fleet.http.get("/ready").status_code == 200
    fleet.until_idle()


def test_the_first_request_after_a_kill_is_no_404(fleet: Fleet) -> None:
    """Right after a kill -9, before anybody was told of it, a client gets 502 or 503 and may try again."""
    worker = fleet.worker("a")
    worker.kill()
    reply = fleet.ask("hi")
    assert reply.status_code in (502, 503), reply.text
    assert "retry-after" in reply.headers


def test_a_stream_whose_worker_dies_ends_in_an_error(fleet: Fleet) -> None:
    """With no other worker to go on, an open stream ends with an error event and [DONE], and holds nothing back."""
    worker = fleet.worker("a", *STEADY, "--reply-tokens", "3000")
    with fleet.stream("a long story") as reply:
        coming = events(reply)
        assert piece(next(coming)) is not None
        worker.kill()
        last = list(coming)[-1]
    assert last["error"]["type"] == "server_error"
    assert last["error"]["code"]
    worker.serve()
    fleet.until_served(MODEL)
    fleet.until_idle()


def test_a_worker_that_is_told_to_stop_finishes_its_stream(fleet: Fleet) -> None:
    """After SIGTERM an open stream goes on to its end, new requests go to another worker, and the exit code is 0."""
    leaving = fleet.worker("leaving", *STEADY)
    fleet.worker("staying", *STEADY)
    whole = text_of(fleet.ask("a long story", max_tokens=100, ignore_eos=True))
    with fleet.stream("a long story", model="leaving", max_tokens=100, ignore_eos=True) as reply:
        coming = events(reply)
        text = piece(next(coming))
        leaving.terminate()
        leaving.until_it_says("stopping")
        for number in range(10):
            assert text_of(fleet.ask(f"meanwhile {number}", max_tokens=2))
        assert fleet.ask("hi", model="leaving").status_code == 503
        text += "".join(piece(event) for event in coming)
    assert text == whole
    assert leaving.wait() == 0
    fleet.until_idle()


def test_no_request_fails_when_one_of_two_workers_is_killed(fleet: Fleet) -> None:
    """Of 100 whole requests, some of them running on a worker that is killed, every one gets its answer."""
    dying = fleet.worker("dying", *STEADY)
    fleet.worker("staying", *STEADY)
    numbers, begun = range(100), count()

    def ask(number: int) -> httpx.Response:
        if next(begun) == 20:  # the other threads have requests under way
            dying.kill()
        return fleet.ask(f"question {number}", max_tokens=5)

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(ask, numbers))
    assert [reply.text for reply in replies if reply.status_code != 200] == []
    fleet.until_idle()


def test_a_killed_worker_may_have_had_all_the_requests(fleet: Fleet) -> None:
    """Requests that wait for a whole answer from a worker that is killed are answered by the other one."""
    dying = fleet.worker("dying", *STEADY)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(fleet.ask, f"question {number}", max_tokens=300, ignore_eos=True) for number in range(4)]
        until(lambda: fleet.counts()[0][1] == 4, "all four run on the only worker")
        fleet.worker("staying")
        dying.kill()
        replies = [each.result() for each in waiting]
    assert [reply.text for reply in replies if reply.status_code != 200] == []
    fleet.until_idle()
