import json
from collections.abc import AsyncIterator

import pytest

from tests.workers.serving import Decoded, Served, reference_text, serving
from workers.engines.base import Sampling
from workers.settings import FakeWorkerSettings


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as running:
        yield running


async def frames(served: Served, **params: object) -> list[Decoded]:
    response = await served.client.post("/worker_generate_stream", json=params)
    assert response.status_code == 200
    assert response.content.endswith(b"\0")
    return [json.loads(frame) for frame in response.content.split(b"\0")[:-1]]


async def last(served: Served, **params: object) -> Decoded:
    response = await served.client.post("/worker_generate", json=params)
    assert response.status_code == 200
    return response.json()


async def test_frames_are_cumulative(served: Served) -> None:
    """Each frame holds the whole text so far; the last one says why it ended, with exact usage."""
    got = await frames(served, model="m", prompt="once", max_new_tokens=40, echo=False)
    text = reference_text("once", Sampling(40))
    assert all(text.startswith(frame["text"]) and frame["error_code"] == 0 for frame in got)
    assert [frame["finish_reason"] for frame in got[:-1]] == [None] * (len(got) - 1)
    assert got[-1] == {
        "text": text,
        "error_code": 0,
        "usage": {"prompt_tokens": 4, "completion_tokens": 40, "total_tokens": 44},
        "finish_reason": "length",
        "logprobs": None,
    }


async def test_the_whole_answer_is_the_last_frame(served: Served) -> None:
    """Without a stream the last frame is the answer; echo is the default."""
    params = {"model": "m", "prompt": "once", "max_new_tokens": 5}
    assert await last(served, **params) == (await frames(served, **params))[-1]
    assert (await last(served, **params))["text"] == "once" + reference_text("once", Sampling(5))


async def test_greedy_stop_and_any_name(served: Served) -> None:
    """Stop strings end the answer; a worker with one model answers to every name."""
    prompt = "<user>repeat after me: one STOP two\n<assistant>"
    got = await last(served, model="other", prompt=prompt, stop="STOP", temperature=0, top_p=0, top_k=-1, echo=False)
    assert (got["text"], got["finish_reason"]) == ("one ", "stop")


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, 40001),
        ({"prompt": None}, 40001),
        ({"prompt": ""}, 40001),
        ({"prompt": "a\0"}, 40001),
        ({"prompt": "a", "max_new_tokens": 0}, 40001),
        ({"prompt": "a", "temperature": -1}, 40001),
        ({"prompt": "a", "logprobs": 1}, 40001),
        ({"prompt": "a", "images": ["/etc/passwd"]}, 40001),
        ({"prompt": "a" * 5000}, 40303),
    ],
)
async def test_errors_are_frames_and_leak_nothing(served: Served, params: dict[str, object], code: int) -> None:
    """A wrong request gets a frame with a code, and no slot is lost."""
    assert [frame["error_code"] for frame in await frames(served, model="m", **params)] == [code]
    assert (await last(served, model="m", **params))["error_code"] == code
    assert served.busy == 0


async def test_failures_are_frames() -> None:
    """A failure of the engine ends the stream with a frame that has a code."""
    async with serving(FakeWorkerSettings(model_names=("m",), fail_after=20)) as served:
        assert [frame["error_code"] for frame in await frames(served, prompt="a")][-1] == 50001
        assert (await last(served, prompt="a"))["error_code"] == 50001
        await served.idle()


async def test_a_loading_worker_says_so() -> None:
    """While the model loads a generation gets the code of an overloaded worker."""
    async with serving(load=False) as served:
        assert (await last(served, prompt="a"))["error_code"] == 42903


async def test_what_a_worker_tells(served: Served) -> None:
    """Status, counts, details and the conversation template have FastChat's shape."""
    status = (await served.client.post("/worker_get_status")).json()
    assert status == {"model_names": ["m", "alias"], "speed": 1.0, "queue_length": 0}
    count = (await served.client.post("/count_token", json={"model": "m", "prompt": "four"})).json()
    assert count == {"count": 4, "error_code": 0}
    assert (await served.client.post("/model_details", json={"model": "m"})).json() == {"context_length": 4096}
    conv = (await served.client.post("/worker_get_conv_template", json={"model": "m"})).json()["conv"]
    assert {"name", "system_template", "roles", "sep_style", "sep", "stop_str"} <= set(conv)
    embeddings = (await served.client.post("/worker_get_embeddings", json={"model": "m", "input": ["a"]})).json()
    assert embeddings["error_code"] == 40001
