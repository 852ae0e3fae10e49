import json
from collections.abc import AsyncIterator

import pytest

from tests.workers.serving import (
    Decoded,
    Served,
    chat,
    chat_prompt,
    contents,
    events,
    reference,
    reference_text,
    serving,
)
from workers.engines.base import Sampling
from workers.settings import FakeWorkerSettings

URL = "/v1/chat/completions"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as running:
        yield running


async def ask(served: Served, body: dict[str, object]) -> Decoded:
    response = await served.client.post(URL, json=body)
    assert response.status_code == 200, response.text
    return response.json()


async def stream(served: Served, body: dict[str, object]) -> list[Decoded]:
    response = await served.client.post(URL, json={**body, "stream": True})
    assert response.status_code == 200, response.text
    return events(response.text)


async def test_a_whole_answer(served: Served) -> None:
    """A whole answer has OpenAI's fields, the reference's text and exact counts."""
    answer = await ask(served, chat("hi", model="alias", max_tokens=5))
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["model"] == "alias"
    assert answer["system_fingerprint"] is None
    (choice,) = answer["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": reference_text(chat_prompt("hi"), Sampling(5)),
        "refusal": None,
    }
    assert (choice["index"], choice["finish_reason"]) == (0, "length")
    prompt = len(chat_prompt("hi"))
    assert answer["usage"] == {"prompt_tokens": prompt, "completion_tokens": 5, "total_tokens": prompt + 5}


async def test_a_stream(served: Served) -> None:
    """A stream is a role, then content, then one finish, and the same text as the whole answer."""
    response = await served.client.post(URL, json=chat("hi", stream=True))
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    chunks = events(response.text)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert contents(chunks) == reference_text(chat_prompt("hi"), Sampling(4000))
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert [reason for reason in reasons if reason] == ["stop"] == reasons[-1:]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert not any("usage" in chunk for chunk in chunks)


async def test_usage_in_a_stream(served: Served) -> None:
    """Usage comes in a last chunk without choices, and is null before."""
    chunks = await stream(served, chat("hi", n=2, max_tokens=3, stream_options={"include_usage": True}))
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["prompt_tokens"] == len(chat_prompt("hi"))
    assert chunks[-1]["usage"]["completion_tokens"] == 6


async def test_choices_of_a_seeded_request_differ(served: Served) -> None:
    """Each choice has the seed of the request plus its index; each finishes once."""
    chunks = await stream(served, chat("hi", n=3, seed=10, max_tokens=8))
    for index in range(3):
        assert contents(chunks, index) == reference_text(chat_prompt("hi"), Sampling(8, seed=10 + index))
    finished = [c["index"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]]
    assert sorted(finished) == [0, 1, 2]
    whole = await ask(served, chat("hi", n=3, seed=10, max_tokens=8))
    assert [choice["message"]["content"] for choice in whole["choices"]] == [contents(chunks, i) for i in range(3)]


async def test_characters_are_whole(served: Served) -> None:
    """No chunk holds half a character, though every token is a byte."""
    text = "héllo 世界 😀"
    chunks = await stream(served, chat(f"repeat after me: {text}"))
    assert contents(chunks) == text
    assert "\ufffd" not in json.dumps(chunks, ensure_ascii=False)


@pytest.mark.parametrize("streamed", [False, True])
async def test_stop_strings(served: Served, streamed: bool) -> None:
    """A stop string ends the answer before it, and what the engine still ran is closed."""
    body = chat("repeat after me: one two END three", stop=["END", "nowhere"])
    if streamed:
        chunks = await stream(served, {**body, "stream_options": {"include_usage": True}})
        text, reason = contents(chunks), chunks[-2]["choices"][0]["finish_reason"]
        tokens = chunks[-1]["usage"]["completion_tokens"]
    else:
        answer = await ask(served, body)
        text, reason = answer["choices"][0]["message"]["content"], answer["choices"][0]["finish_reason"]
        tokens = answer["usage"]["completion_tokens"]
    assert (text, reason, tokens) == ("one two ", "stop", len("one two END"))
    assert served.engine.load().running == 0


async def test_stop_token_ids_and_minimum(served: Served) -> None:
    """A stop token ends the answer, unseen, but not before min_tokens."""
    tokens = reference(chat_prompt("hi"), Sampling(64, ignore_eos=True))
    stop = tokens[3].id
    first = next(place for place, token in enumerate(tokens) if token.id == stop)
    answer = await ask(served, chat("hi", stop_token_ids=[stop]))
    assert answer["usage"]["completion_tokens"] == first + 1
    answer = await ask(served, chat("hi", min_tokens=70, max_tokens=80))
    assert 70 <= answer["usage"]["completion_tokens"] <= 80


@pytest.mark.parametrize("streamed", [False, True])
async def test_tool_calls(served: Served, streamed: bool) -> None:
    """Calls in the model's text become tool calls, with ids, names and arguments."""
    said = 'Looking. <tool_call>{"name": "find", "arguments": {"q": "x"}}</tool_call>'
    tools = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
    body = chat(f"repeat after me: {said}", tools=tools)
    if streamed:
        chunks = await stream(served, body)
        calls = [c["delta"]["tool_calls"] for chunk in chunks for c in chunk["choices"] if "tool_calls" in c["delta"]]
        assert calls[0][0]["index"] == 0
        call, text, reason = calls[0][0], contents(chunks), chunks[-1]["choices"][0]["finish_reason"]
    else:
        choice = (await ask(served, body))["choices"][0]
        call, text, reason = choice["message"]["tool_calls"][0], choice["message"]["content"], choice["finish_reason"]
    assert call["id"].startswith("call_")
    assert call["function"] == {"name": "find", "arguments": '{"q":"x"}'}
    assert (text, reason) == ("Looking.", "tool_calls")


async def test_tool_choice_none_leaves_text_alone(served: Served) -> None:
    """With tool_choice none nothing is parsed, and the template sees no tools."""
    said = '<tool_call>{"name": "f"}</tool_call>'
    tools = [{"type": "function", "function": {"name": "f"}}]
    choice = (await ask(served, chat(f"repeat after me: {said}", tools=tools, tool_choice="none")))["choices"][0]
    assert choice["message"]["content"] == said
    assert "tool_calls" not in choice["message"]


async def test_null_means_default(served: Served) -> None:
    """Every optional field may be null."""
    from workers.protocol import ChatRequest

    fields = dict.fromkeys(name for name in ChatRequest.__struct_fields__ if name not in ("model", "messages"))
    answer = await ask(served, {**fields, **chat("hi")})
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_conversation_forms(served: Served) -> None:
    """Every role and form of content that a client may send is taken."""
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "eve"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "42"},
        {"role": "user", "content": "thanks"},
    ]
    await ask(served, {"model": "m", "messages": messages, "user": "u", "store": True, "metadata": {"a": "b"}})


async def test_the_rest_of_the_context_is_the_default() -> None:
    """Without max_tokens an answer may fill the context, and no more."""
    async with serving(FakeWorkerSettings(model_names=("m",), context_length=40, reply_tokens=500)) as served:
        usage = (await ask(served, chat("hi")))["usage"]
        assert usage["total_tokens"] == 40


@pytest.mark.parametrize("fields", [{"max_tokens": 30}, {"max_completion_tokens": 30}, {"content": "x" * 40}])
async def test_too_long(fields: dict[str, object]) -> None:
    """What does not fit the context is refused in the words that clients look for."""
    async with serving(FakeWorkerSettings(model_names=("m",), context_length=40)) as served:
        content = str(fields.pop("content", "hi"))
        response = await served.client.post(URL, json=chat(content, **fields))
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (400, "context_length_exceeded")
        assert "This model's maximum context length is 40 tokens. However, you requested " in error["message"]


async def test_a_failure_in_mid_stream_is_an_event() -> None:
    """An engine's failure ends the stream with an error event, and frees the slot."""
    async with serving(FakeWorkerSettings(model_names=("m",), fail_after=20)) as served:
        response = await served.client.post(URL, json=chat("hi", stream=True))
        assert response.status_code == 200
        *_, last, done = [line for line in response.text.split("\n") if line]
        assert done == "data: [DONE]"
        error = json.loads(last.removeprefix("data: "))["error"]
        assert error == {
            "message": "The generation failed on this worker.",
            "type": "server_error",
            "param": None,
            "code": "internal_error",
        }
        await served.idle()


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_failure_before_the_first_token_is_an_http_error(streamed: bool) -> None:
    """As long as nothing went out, a failure is an ordinary error, which can be tried elsewhere."""
    async with serving(FakeWorkerSettings(model_names=("m",), fail_after=0)) as served:
        response = await served.client.post(URL, json=chat("hi", stream=streamed, n=2))
        assert (response.status_code, response.json()["error"]["type"]) == (500, "server_error")
        await served.idle()
