"""Several workers with one model share its requests."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from tests.processes import CHAT, Fleet, Processes, chat, start_api_server, start_fleet, until

# Every answer is as long as the other worker's, so that only the choice of a worker decides the shares; one of them
# ends because the text does (`stop`), the other one because the request says so (`length`).
TOKENS = 5
PACE = ("--tokens-per-second", "100")  # 50 ms per answer, nearly all of it waiting


@pytest.mark.parametrize(("policy", "requests"), [("shortest_queue", 400), ("least_load", 400), ("lottery", 200)])
def test_two_workers_share_equal_requests(processes: Processes, policy: str, requests: int) -> None:
    """Of equal requests, 8 at a time, each of two equal workers gets its half within 10 %; nothing stays counted.

    By load, no worker ever has more than 4 of the 8: a fifth would be refused here, and no other worker be asked.
    """
    by_load = policy != "lottery"
    room = ("--limit-worker-concurrency", "4", "--max-waiting", "0") if by_load else ()
    attempts = ("--max-attempts", "1") if by_load else ()
    with start_fleet(processes, "--dispatch-method", policy, *attempts) as fleet:
        fleet.worker("stop", *PACE, *room, "--reply-tokens", str(TOKENS))
        fleet.worker("length", *PACE, *room, "--reply-tokens", str(TOKENS + 1))

        def ask(_: int) -> str:
            reply = fleet.ask("the same question", max_tokens=TOKENS)
            assert reply.status_code == 200, reply.text
            assert reply.json()["usage"]["completion_tokens"] == TOKENS
            return finish(reply)

        with ThreadPoolExecutor(8) as pool:
            shares = Counter(pool.map(ask, range(requests)))
        assert set(shares) == {"stop", "length"}
        # 200 fair coins give one side less than 28 % once in a billion times.
        assert min(shares.values()) >= requests * (0.45 if by_load else 0.28)
        fleet.until_idle()


def test_two_api_servers_see_each_others_requests(fleet: Fleet) -> None:
    """Requests that one API server has under way count in the other one's choice."""
    quick = ("--tokens-per-second", "200", "--context-length", "1000000")
    fleet.worker("stop", *quick, "--reply-tokens", str(TOKENS))
    second = start_api_server(fleet.processes, fleet.controller).until_it_answers("/ready")
    with ExitStack() as busy, fleet.client(second) as http:
        for _ in range(3):
            busy.enter_context(fleet.stream("a long story", max_tokens=900_000, ignore_eos=True))
        fleet.worker("length", *quick, "--reply-tokens", str(TOKENS + 1))
        until(lambda: (3, 3, 0) in fleet.counts(), "the controller knows of the streams")
        asked = chat("hi", max_tokens=TOKENS)
        until(lambda: finish(http.post(CHAT, json={**asked, "model": "length"})) == "length", "both workers are known")
        chosen = Counter(finish(http.post(CHAT, json=asked)) for _ in range(40))
    assert chosen["length"] >= 35, chosen  # all but those that were faster than the news
    fleet.until_idle()


def finish(reply: httpx.Response) -> str:
    """Why an answer ended, and with that, who gave it."""
    return str(reply.json()["choices"][0]["finish_reason"]) if reply.status_code == 200 else ""
