"""Requests that must be refused with 4xx, in OpenAI's shape, without a slot being lost."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import workers
from tests.workers.serving import Decoded, Served, chat, serving

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
JSON = {"content-type": "application/json"}


def with_message(**message: object) -> dict[str, object]:
    return {"model": "m", "messages": [message]}


def text(prompt: object, **fields: object) -> dict[str, object]:
    return {"model": "m", "prompt": prompt, **fields}


# Chat bodies → status and the `param` of the error.
CHATS: list[tuple[object, int, str | None]] = [
    ({}, 400, "model"),
    ([], 400, None),
    ("text", 400, None),
    (None, 400, None),
    ({"model": "m"}, 400, "messages"),
    ({"messages": []}, 400, "messages"),
    ({"model": None, "messages": [{"role": "user", "content": "a"}]}, 400, "model"),
    ({"model": 1, "messages": [{"role": "user", "content": "a"}]}, 400, "model"),
    (chat(model="unknown"), 404, "model"),
    ({"model": "m", "messages": []}, 400, "messages"),
    ({"model": "m", "messages": "hello"}, 400, "messages"),
    ({"model": "m", "messages": [{"role": "user", "content": "a"}] * 5000}, 400, "messages"),
    ({"model": "m", "messages": [None]}, 400, "messages[0]"),
    (with_message(content="a"), 400, "messages[0].role"),
    (with_message(role="wizard", content="a"), 400, "messages[0].role"),
    (with_message(role="function", content="a"), 400, "messages[0].role"),
    (with_message(role="user"), 400, "messages[0].content"),
    (with_message(role="user", content=7), 400, "messages[0].content"),
    (with_message(role="user", content={"a": 1}), 400, "messages[0].content"),
    (with_message(role="user", content=["a"]), 400, "messages[0].content[0]"),
    (with_message(role="user", content=[{"type": "text"}]), 400, "messages[0].content[0].text"),
    (with_message(role="user", content=[{"type": "magic"}]), 400, "messages[0].content[0].type"),
    (
        with_message(role="user", content=[{"type": "image_url", "image_url": {"url": "x"}}]),
        400,
        "messages[0].content[0]",
    ),
    (with_message(role="user", content=[{"type": "input_audio"}]), 400, "messages[0].content[0]"),
    (with_message(role="user", content="nul \0 here"), 400, "messages[0].content"),
    (with_message(role="user", content="a", tool_calls=[{"function": {"name": "f"}}]), 400, "messages[0].tool_calls"),
    (with_message(role="assistant", tool_calls=[{}]), 400, "messages[0].tool_calls[0].function"),
    (with_message(role="assistant", function_call={"name": "f"}), 400, "messages[0].function_call"),
    (chat(n=0), 400, "n"),
    (chat(n=17), 400, "n"),
    (chat(n=10**30), 400, "n"),
    (chat(n=1.5), 400, "n"),
    (chat(max_tokens=0), 400, "max_tokens"),
    (chat(max_tokens=-1), 400, "max_tokens"),
    (chat(max_tokens=10**9), 400, "messages"),
    (chat(max_tokens="12"), 400, "max_tokens"),
    (chat(min_tokens=10, max_tokens=5), 400, "min_tokens"),
    (chat(temperature=-0.1), 400, "temperature"),
    (chat(temperature=2.1), 400, "temperature"),
    (chat(temperature="hot"), 400, "temperature"),
    (chat(top_p=0), 400, "top_p"),
    (chat(top_p=1.1), 400, "top_p"),
    (chat(top_k=-2), 400, "top_k"),
    (chat(repetition_penalty=0), 400, "repetition_penalty"),
    (chat(presence_penalty=3), 400, "presence_penalty"),
    (chat(frequency_penalty=-3), 400, "frequency_penalty"),
    (chat(seed=2**63), 400, "seed"),
    (chat(seed="x"), 400, "seed"),
    (chat(stop=""), 400, "stop"),
    (chat(stop=["a"] * 17), 400, "stop"),
    (chat(stop=["a" * 513]), 400, "stop[0]"),
    (chat(stop=["ok", "\0"]), 400, "stop[1]"),
    (chat(stop=[1]), 400, "stop[0]"),
    (chat(stop_token_ids=[-1]), 400, "stop_token_ids[0]"),
    (chat(stream="yes"), 400, "stream"),
    (chat(stream_options={"include_usage": True}), 400, "stream_options"),
    (chat(stream_options=1, stream=True), 400, "stream_options"),
    (chat(logprobs=True), 400, "logprobs"),
    (chat(top_logprobs=2), 400, "top_logprobs"),
    (chat(logit_bias={"1": 5}), 400, "logit_bias"),
    (chat(response_format={"type": "json_object"}), 400, "response_format"),
    (chat(functions=[{"name": "f"}]), 400, "functions"),
    (chat(function_call={"name": "f"}), 400, "function_call"),
    (chat(modalities=["text", "audio"]), 400, "modalities"),
    (chat(audio={"voice": "x"}), 400, "audio"),
    (chat(best_of=2), 400, "best_of"),
    (chat(guided_regex="(a+)+$"), 400, "guided_regex"),
    (chat(chat_template="{{ 7 * 7 }}"), 400, "chat_template"),
    (chat(tools="f"), 400, "tools"),
    (chat(tools=[{"type": "function"}]), 400, "tools[0].function"),
    (chat(tools=[{"type": "web_search"}]), 400, "tools[0].type"),
    (chat(tools=[{"type": "function", "function": {"name": ""}}]), 400, "tools[0].function.name"),
    (chat(tools=[{"type": "function", "function": {"name": "f", "strict": True}}]), 400, "tools[0].function.strict"),
    (chat(tool_choice="required"), 400, "tool_choice"),
    (chat(tool_choice="sometimes"), 400, "tool_choice"),
    (chat(tool_choice={"type": "function", "function": {"name": "f"}}), 400, "tool_choice"),
]

COMPLETIONS: list[tuple[object, int, str | None]] = [
    ({"model": "m"}, 400, "prompt"),
    (text(None), 400, "prompt"),
    (text(""), 400, "prompt"),
    (text([]), 400, "prompt"),
    (text([""]), 400, "prompt[0]"),
    (text(["a", 1]), 400, "prompt"),
    (text(["a", [1]]), 400, "prompt"),
    (text([[]]), 400, "prompt[0]"),
    (text([[1, "a"]]), 400, "prompt[0][1]"),
    (text([-1]), 400, None),
    (text([2**40]), 400, None),
    (text([1.5]), 400, "prompt[0]"),
    (text({"a": 1}), 400, "prompt"),
    (text("a\0b"), 400, "prompt"),
    (text(["a"] * 200), 400, "prompt"),
    (text("a" * 10_000), 400, "prompt"),
    (text("a", echo=True), 400, "echo"),
    (text("a", suffix="b"), 400, "suffix"),
    (text("a", best_of=3), 400, "best_of"),
    (text("a", logprobs=1), 400, "logprobs"),
]

DEEP = b"[" * 100_000 + b"]" * 100_000

# Raw bodies that are no JSON, or should not be read.
RAW: list[bytes] = [
    b"",
    b"{",
    b"\xff\xfe",
    b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "temperature": NaN}',
    b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "temperature": 1e999}',
    rb'{"model": "m", "messages": [{"role": "user", "content": "\ud800"}]}',
    b'{"model": "m", "messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
    b'{"model": "m", "messages": [{"role": "user", "content": "a\0b"}]}',
    b'{"model": "m", "messages": ' + DEEP + b"}",
    b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "response_format": ' + DEEP + b"}",
    b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "unknown": ' + DEEP + b"}",
    b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "n": ' + b"9" * 10_000 + b"}",
    b'{"model": "m", "messages": [{"role": "user", "content": "' + b"a" * 10_000_000 + b'"}]}',
]


async def refused(served: Served, url: str, content: bytes, headers: dict[str, str] = JSON) -> tuple[int, Decoded]:
    """Status and error of a request; checks the shape, and that no slot is lost."""
    response = await served.client.post(url, content=content, headers=headers)
    assert 400 <= response.status_code < 500, (content[:200], response.status_code)
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert str(Path(workers.__file__).parent.parent) not in error["message"]
    assert ".py" not in error["message"]
    assert served.busy == 0, content[:200]
    return response.status_code, error


async def check_table(served: Served, url: str, table: list[tuple[object, int, str | None]]) -> None:
    for body, status, param in table:
        for form in (body, {**body, "stream": True}) if isinstance(body, dict) and "stream" not in body else (body,):
            if isinstance(form, dict) and "stream_options" in form and form is not body:
                continue
            found, error = await refused(served, url, json.dumps(form).encode())
            assert (found, error["param"]) == (status, param), (str(body)[:200], error)


async def test_poisoned_chats() -> None:
    """Every wrong chat request gets 4xx and the name of its field, streamed or not."""
    async with serving() as served:
        await check_table(served, CHAT, CHATS)


async def test_poisoned_completions() -> None:
    """Every wrong completion request gets 4xx and the name of its field, streamed or not."""
    async with serving() as served:
        await check_table(served, TEXT, COMPLETIONS)


async def test_bodies_that_are_no_json() -> None:
    """Bodies that are no JSON, or no sound one, get 400 on every route that reads a body."""
    async with serving() as served:
        for url in (CHAT, TEXT):
            for body in RAW:
                status, _ = await refused(served, url, body)
                assert status == 400


async def test_tools_nested_to_the_limit() -> None:
    """However deep the tools are nested, they are taken or refused, and nothing breaks."""
    async with serving() as served:
        for depth in (*range(100, 1000, 100), *range(840, 1000, 8), 5000):
            parameters = b'{"a":' * depth + b"1" + b"}" * depth
            tool = b'{"type": "function", "function": {"name": "f", "parameters": ' + parameters + b"}}"
            body = b'{"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}], "tools": [' + tool
            response = await served.client.post(CHAT, content=body + b"]}", headers=JSON)
            assert response.status_code in (200, 400), (depth, response.text)


async def test_media_types_and_sizes() -> None:
    """Only JSON that says so is read, and only up to the limit, announced or not."""
    from workers.settings import FakeWorkerSettings

    async with serving(FakeWorkerSettings(model_names=("m",), max_body_bytes=1000)) as served:
        body = json.dumps(chat()).encode()
        for media in (
            "text/plain",
            "multipart/form-data; boundary=" + "-" * 5000,
            "application/x-www-form-urlencoded",
            "",
        ):
            status, error = await refused(served, CHAT, body, {"content-type": media})
            assert (status, error["code"]) == (415, "unsupported_media_type")
        status, error = await refused(served, CHAT, b" " * 1001)
        assert (status, error["code"]) == (413, "body_too_large")

        async def unannounced() -> AsyncIterator[bytes]:
            for _ in range(11):
                yield b" " * 100

        response = await served.client.post(CHAT, content=unannounced(), headers=JSON)
        assert response.status_code == 413
        response = await served.client.post(
            CHAT, content=body, headers={"content-type": "Application/JSON; charset=utf-8"}
        )
        assert response.status_code == 200
