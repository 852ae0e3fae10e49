"""The `openai` package, against the demo model."""

import asyncio
import json
from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam, ChatCompletionToolParam

from tests.clients.conftest import KEY, SLOW
from tests.conftest import DEMO
from tests.processes import WAIT, Fleet

QUESTIONS = ["What is Baton?", "你好"]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def user(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


@pytest.fixture
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key=KEY, max_retries=0, timeout=WAIT) as made:
        yield made


def greedy(client: openai.OpenAI, question: str) -> str:
    """The demo model's answer, whole."""
    answer = client.chat.completions.create(model=DEMO, messages=user(question), temperature=0)
    return answer.choices[0].message.content or ""


def test_a_whole_answer(client: openai.OpenAI) -> None:
    """A chat completion has every field that the package's types promise, and counts its tokens."""
    answer = client.chat.completions.create(model=DEMO, messages=user("What is Baton?"), temperature=0)
    assert (answer.object, answer.model) == ("chat.completion", DEMO)
    assert answer.id
    assert answer.created > 0
    (choice,) = answer.choices
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert "Baton" in (choice.message.content or "")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.completion_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI, question: str) -> None:
    """A greedy stream comes in several pieces, and they are the whole greedy answer."""
    chunks = list(client.chat.completions.create(model=DEMO, messages=user(question), temperature=0, stream=True))
    assert text(chunks) == greedy(client, question) != ""
    assert len([chunk for chunk in chunks if chunk.choices[0].delta.content]) > 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


def test_a_stream_with_usage(client: openai.OpenAI) -> None:
    """With `include_usage` the last chunk has no choice and the same counts as the whole answer."""
    question = user("What is Baton?")
    whole = client.chat.completions.create(model=DEMO, messages=question, temperature=0)
    *chunks, last = client.chat.completions.create(
        model=DEMO, messages=question, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    assert last.choices == []
    assert last.usage == whole.usage
    assert text(chunks) == whole.choices[0].message.content


def test_the_packages_own_stream_helper(client: openai.OpenAI) -> None:
    """`chat.completions.stream`, which checks the order of chunks, gathers the same answer."""
    with client.chat.completions.stream(model=DEMO, messages=user("What is Baton?"), temperature=0) as stream:
        for _ in stream:
            pass
        gathered = stream.get_final_completion()
    assert gathered.choices[0].message.content == greedy(client, "What is Baton?")


def test_several_choices(client: openai.OpenAI) -> None:
    """`n` choices come with their indices, whole and streamed, and a seed makes them repeat."""
    asked = {"model": DEMO, "messages": user("Tell me about workers."), "n": 3, "seed": 7, "max_tokens": 20}
    whole = client.chat.completions.create(**asked)  # type: ignore[call-overload]
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    chunks = list(client.chat.completions.create(**asked, stream=True))  # type: ignore[call-overload]
    assert [text(chunks, index) for index in range(3)] == [choice.message.content or "" for choice in whole.choices]


def test_limits_and_stop_strings(client: openai.OpenAI) -> None:
    """`max_tokens` ends an answer with `length`; `stop` ends it before the string."""
    question = user("What is Baton?")
    short = client.chat.completions.create(model=DEMO, messages=question, temperature=0, max_tokens=3)
    assert short.choices[0].finish_reason == "length"
    assert short.usage is not None
    assert short.usage.completion_tokens == 3
    full = greedy(client, "What is Baton?")
    word = full.split()[3]
    cut = client.chat.completions.create(model=DEMO, messages=question, temperature=0, stop=[word])
    assert cut.choices[0].finish_reason == "stop"
    assert cut.choices[0].message.content == full[: full.index(word)]


def test_a_conversation(client: openai.OpenAI) -> None:
    """System, user and assistant turns, and contents in parts, are taken."""
    messages: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": "You are brief."},
        {"role": "user", "content": "你好"},
        {"role": "assistant", "content": "你好！"},
        {"role": "user", "content": [{"type": "text", "text": "What is Baton?"}]},
    ]
    assert client.chat.completions.create(model=DEMO, messages=messages).choices[0].message.content


def test_completions(client: openai.OpenAI) -> None:
    """Plain completions, whole and streamed, agree; several prompts give as many choices."""
    asked = {"model": DEMO, "prompt": "Baton is", "max_tokens": 16, "temperature": 0}
    whole = client.completions.create(**asked)  # type: ignore[call-overload]
    assert whole.object == "text_completion"
    chunks = list(client.completions.create(**asked, stream=True))  # type: ignore[call-overload]
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text != ""
    two = client.completions.create(model=DEMO, prompt=["Baton is", "A worker"], max_tokens=4, temperature=0)
    assert [choice.index for choice in two.choices] == [0, 1]


def test_models(client: openai.OpenAI) -> None:
    """The list holds the served models, and each can be looked at alone."""
    cards = {card.id: card for card in client.models.list()}
    assert {DEMO, SLOW} <= set(cards)
    assert client.models.retrieve(DEMO) == cards[DEMO]
    assert cards[DEMO].object == "model"
    assert cards[DEMO].created > 0


def test_tools(client: openai.OpenAI) -> None:
    """The demo model calls the tool that fits; a stream says the same, and results are taken."""
    question = user("What is the weather in Paris?")
    message = client.chat.completions.create(model=DEMO, messages=question, tools=[WEATHER], temperature=0).choices[0]
    with client.chat.completions.stream(model=DEMO, messages=question, tools=[WEATHER], temperature=0) as stream:
        streamed = stream.get_final_completion().choices[0]
    assert streamed.finish_reason == message.finish_reason
    assert (streamed.message.content or "") == (message.message.content or "")
    calls = [call for call in message.message.tool_calls or [] if call.type == "function"]
    assert calls
    assert message.finish_reason == "tool_calls"
    assert {call.function.name for call in calls} == {"get_weather"}
    assert isinstance(json.loads(calls[0].function.arguments), dict)
    streamed_calls = [call for call in streamed.message.tool_calls or [] if call.type == "function"]
    assert [call.function.arguments for call in streamed_calls] == [call.function.arguments for call in calls]
    turns: list[ChatCompletionMessageParam] = [
        *question,
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.function.name, "arguments": call.function.arguments},
                }
                for call in calls
            ],
        },
    ]
    turns += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in calls]
    told = client.chat.completions.create(model=DEMO, messages=turns, tools=[WEATHER]).choices[0]
    assert told.message.content or told.message.tool_calls


def test_a_wrong_key(base_url: str) -> None:
    """A wrong key is an AuthenticationError, on every route."""
    with openai.OpenAI(base_url=base_url, api_key="sk-wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError) as caught:
            stranger.models.list()
        assert caught.value.code == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            stranger.chat.completions.create(model=DEMO, messages=user("hi"))


def test_an_unknown_model(client: openai.OpenAI) -> None:
    """An unknown model is a NotFoundError with OpenAI's code, and the message names the models there are."""
    for stream in (False, True):
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model="gpt-9", messages=user("hi"), stream=stream)
        assert caught.value.code == "model_not_found"
        assert DEMO in caught.value.message
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


def test_a_bad_value(client: openai.OpenAI) -> None:
    """A bad value is a BadRequestError that names the field."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=DEMO, messages=user("hi"), temperature=9)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=DEMO, messages=[])
    assert caught.value.param == "messages"


def test_a_prompt_that_is_too_long(client: openai.OpenAI) -> None:
    """A prompt beyond the context is a BadRequestError with the code and the words that clients look for."""
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=DEMO, messages=user("word " * 5000), stream=stream)
        assert caught.value.code == "context_length_exceeded"
        assert "maximum context length is" in caught.value.message


async def test_sixteen_at_a_time(base_url: str, client: openai.OpenAI, keyed_fleet: Fleet) -> None:
    """Concurrent greedy requests, streamed and whole, all get the answer that each gets alone."""
    alone = {question: await asyncio.to_thread(greedy, client, question) for question in QUESTIONS}
    async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0, timeout=WAIT) as many:

        async def whole(question: str) -> str:
            answer = await many.chat.completions.create(model=DEMO, messages=user(question), temperature=0)
            return answer.choices[0].message.content or ""

        async def streamed(question: str) -> str:
            stream = await many.chat.completions.create(model=DEMO, messages=user(question), temperature=0, stream=True)
            return text([chunk async for chunk in stream])

        asked = QUESTIONS * 4
        answers = await asyncio.gather(*map(whole, asked), *map(streamed, asked))
    assert answers == [alone[question] for question in asked * 2]
    await asyncio.to_thread(keyed_fleet.until_idle)


def test_a_stream_that_is_closed_early_frees_its_slot(client: openai.OpenAI, keyed_fleet: Fleet) -> None:
    """Leaving a stream that would go on for many minutes ends its generation at the worker."""
    stream = client.chat.completions.create(model=SLOW, messages=user("hi"), stream=True)
    next(stream)
    stream.close()
    keyed_fleet.until_idle()


def text(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    """The text of one choice of a stream."""
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices if choice.index == index)
