"""What slots and the queue do under requests that leave, wait, or are too many."""

import asyncio
import random

import pytest

from tests.workers.serving import chat, serving
from workers.admission import Load
from workers.settings import FakeWorkerSettings

URL = "/v1/chat/completions"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_client_that_leaves_frees_its_slots(streamed: bool) -> None:
    """When the client disconnects, running and waiting sequences end at once."""
    settings = FakeWorkerSettings(model_names=("m",), tokens_per_second=20, limit_worker_concurrency=2)
    async with serving(settings) as served:
        body = chat("hi", stream=streamed, n=3, ignore_eos=True)
        asking = asyncio.create_task(served.client.post(URL, json=body))
        await served.until(busy=3)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await served.idle()
        assert served.engine.load().running == 0


async def test_a_full_queue_refuses() -> None:
    """Beyond slots and queue requests get 503 with Retry-After, and the first in line is the next to run."""
    settings = FakeWorkerSettings(model_names=("m",), tokens_per_second=50, limit_worker_concurrency=1, max_waiting=1)
    async with serving(settings) as served:
        first = asyncio.create_task(served.client.post(URL, json=chat("hi", max_tokens=10)))
        await served.until(busy=1)
        second = asyncio.create_task(served.client.post(URL, json=chat("hi", max_tokens=1)))
        await served.until(busy=2)
        refused = await served.client.post(URL, json=chat("hi"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert [(await task).status_code for task in (first, second)] == [200, 200]
        hopeless = await served.client.post(URL, json=chat("hi", n=3))
        assert hopeless.status_code == 400


async def test_direct_requests_are_counted() -> None:
    """Requests that no API server sent are counted apart."""
    settings = FakeWorkerSettings(model_names=("m",), tokens_per_second=20)
    async with serving(settings) as served:
        body = chat("hi", max_tokens=2000, ignore_eos=True)
        direct = asyncio.create_task(served.client.post(URL, json=body))
        await served.until(busy=1)
        via = asyncio.create_task(served.client.post(URL, json=body, headers={"baton-via": "api-1"}))
        await served.until(busy=2)
        load = served.worker.admission.load()
        assert (load.running, load.direct) == (2, 1)
        for task in (direct, via):
            task.cancel()
        await asyncio.gather(direct, via, return_exceptions=True)
        await served.idle()
        assert served.worker.admission.load().direct == 0


async def test_nothing_leaks_in_a_storm() -> None:
    """Whatever mixture of requests comes, fails and leaves, in the end nothing runs, waits or counts as direct."""
    settings = FakeWorkerSettings(
        model_names=("m",),
        tokens_per_second=500,
        limit_worker_concurrency=4,
        max_waiting=8,
        fail_after=9,
        fail_rate=0.3,
        seed=5,
    )
    rng = random.Random(11)
    async with serving(settings) as served:

        async def visit(patience: float, body: dict[str, object], headers: dict[str, str]) -> int:
            try:
                async with asyncio.timeout(patience):
                    return (await served.client.post(URL, json=body, headers=headers)).status_code
            except TimeoutError:
                return 0

        visits = []
        for _ in range(120):
            body = chat("hi", n=rng.randint(1, 4), stream=rng.random() < 0.5, max_tokens=rng.randint(1, 30))
            headers = {"baton-via": "x"} if rng.random() < 0.5 else {}
            visits.append(asyncio.create_task(visit(rng.choice((0.01, 0.05, 5.0)), body, headers)))
            await asyncio.sleep(0.002)
        seen = set(await asyncio.gather(*visits))
        await served.idle()
        assert served.worker.admission.load() == Load(0, 0, 0)
        assert served.engine.load().running == 0
        assert {0, 200, 503} <= seen <= {0, 200, 500, 503}
