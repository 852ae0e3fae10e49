from collections.abc import AsyncIterator

import pytest

from tests.workers.serving import Decoded, Served, events, reference_text, serving
from workers.engines.base import Sampling, SamplingDefaults
from workers.engines.fake import VOCABULARY
from workers.jobs import make_sampling
from workers.protocol import CompletionRequest

URL = "/v1/completions"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as running:
        yield running


async def ask(served: Served, prompt: object, **fields: object) -> Decoded:
    response = await served.client.post(URL, json={"model": "m", "prompt": prompt, **fields})
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_whole_answer(served: Served) -> None:
    """A completion has OpenAI's fields, and 16 tokens where nobody says how many."""
    answer = await ask(served, "once")
    assert answer["object"] == "text_completion"
    assert answer["id"].startswith("cmpl-")
    assert answer["choices"] == [
        {"index": 0, "text": reference_text("once", Sampling(16)), "finish_reason": "length", "logprobs": None}
    ]
    assert answer["usage"] == {"prompt_tokens": 4, "completion_tokens": 16, "total_tokens": 20}


async def test_every_form_of_prompt(served: Served) -> None:
    """Text, texts, token ids and lists of token ids mean the same."""
    ids, more = list(b"once"), list(b"more")
    one = (await ask(served, "once"))["choices"]
    assert (await ask(served, ids))["choices"] == one
    assert (await ask(served, [ids]))["choices"] == one
    assert (await ask(served, ["once"]))["choices"] == one
    assert (await ask(served, ["once", "more"]))["choices"] == (await ask(served, [ids, more]))["choices"]


async def test_choices_of_prompts_are_numbered(served: Served) -> None:
    """The choices of the second prompt follow those of the first; each prompt is counted once."""
    answer = await ask(served, ["ab", "cde"], n=2, seed=1, max_tokens=2)
    expected = [
        reference_text(prompt, Sampling(2, seed=seed))
        for prompt, seed in (("ab", 1), ("ab", 2), ("cde", 1), ("cde", 2))
    ]
    assert [choice["text"] for choice in answer["choices"]] == expected
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"]["prompt_tokens"] == 5


async def test_a_stream(served: Served) -> None:
    """A stream has the texts of the whole answer, and one finish per choice."""
    response = await served.client.post(
        URL, json={"model": "m", "prompt": ["ab", "c"], "stream": True, "stream_options": {"include_usage": True}}
    )
    chunks = events(response.text)
    texts = ["", ""]
    reasons: list[tuple[int, str]] = []
    for chunk in chunks[:-1]:
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["text"]
        reasons += [(choice["index"], choice["finish_reason"])] if choice["finish_reason"] else []
    assert texts == [reference_text(prompt, Sampling(16)) for prompt in ("ab", "c")]
    assert sorted(reasons) == [(0, "length"), (1, "length")]
    assert chunks[-1]["usage"]["total_tokens"] == 3 + 32


async def test_a_long_prompt_leaves_what_is_left(served: Served) -> None:
    """Without max_tokens a completion is shorter than 16 tokens where the context ends."""
    answer = await ask(served, [1] * (served.engine.context_length - 5))
    assert answer["usage"]["completion_tokens"] == 5


@pytest.mark.parametrize("streamed", [False, True])
async def test_token_ids_beyond_the_vocabulary(served: Served, streamed: bool) -> None:
    """Ids that the model does not have are refused."""
    response = await served.client.post(URL, json={"model": "m", "prompt": [VOCABULARY], "stream": streamed})
    assert response.status_code == 400


async def test_a_request_falls_back_on_the_models_own_sampling() -> None:
    """What a request leaves out comes from the model's advice; what it names wins, zero too."""
    async with serving() as it:
        it.engine.defaults = SamplingDefaults(temperature=0.5, top_p=0.9, top_k=7, repetition_penalty=1.1)

        def sampling(**fields: float) -> Sampling:
            asked = CompletionRequest(model="m", prompt="p", **fields)  # type: ignore[arg-type]
            return make_sampling(it.engine, asked, 1, 5, 5, None)

        silent = sampling()
        assert (silent.temperature, silent.top_p, silent.top_k, silent.repetition_penalty) == (0.5, 0.9, 7, 1.1)
        spoken = sampling(temperature=0, top_p=1, top_k=0, repetition_penalty=1)
        assert (spoken.temperature, spoken.top_p, spoken.top_k, spoken.repetition_penalty) == (0, 1, 0, 1)
