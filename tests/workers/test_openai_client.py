"""OpenAI's own client against a worker."""

from collections.abc import AsyncIterator

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from tests.workers.serving import chat_prompt, reference_text, serving
from workers.engines.base import Sampling

HI: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def client() -> AsyncIterator[openai.AsyncOpenAI]:
    async with serving(token="s3cret") as served:
        base = str(served.client.base_url.join("/v1"))
        async with openai.AsyncOpenAI(base_url=base, api_key="s3cret", max_retries=0) as opened:
            yield opened


async def test_whole_and_streamed(client: openai.AsyncOpenAI) -> None:
    """The client reads whole answers and streams, and they are the same."""
    expected = reference_text(chat_prompt("hi"), Sampling(9))
    whole = await client.chat.completions.create(model="m", messages=HI, max_tokens=9)
    assert whole.choices[0].message.content == expected
    assert whole.usage
    assert whole.usage.completion_tokens == 9
    stream = await client.chat.completions.create(
        model="m", messages=HI, max_tokens=9, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == expected
    assert chunks[-1].usage == whole.usage


async def test_completions_and_models(client: openai.AsyncOpenAI) -> None:
    """The client reads completions and the list of models."""
    completion = await client.completions.create(model="m", prompt="once", max_tokens=4)
    assert completion.choices[0].text == reference_text("once", Sampling(4))
    assert [model.id async for model in client.models.list()] == ["m", "alias"]


async def test_errors_have_the_clients_classes(client: openai.AsyncOpenAI) -> None:
    """Each error becomes the exception that the client has for it."""
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(model="other", messages=HI)
    with pytest.raises(openai.BadRequestError, match="maximum context length is"):
        await client.chat.completions.create(model="m", messages=HI, max_tokens=10**6)
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="wrong").models.list()
