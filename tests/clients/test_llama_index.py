"""LlamaIndex's `OpenAILike`, against the demo model."""

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike  # type: ignore[import-untyped] # has no types

from tests.clients.conftest import KEY
from tests.conftest import DEMO
from tests.processes import WAIT

QUESTION = [ChatMessage(role="user", content="What is Baton?")]


@pytest.fixture
def model(base_url: str) -> OpenAILike:
    return OpenAILike(
        api_base=base_url,
        api_key=KEY,
        model=DEMO,
        temperature=0,
        is_chat_model=True,
        max_retries=0,
        timeout=WAIT,
        context_window=2048,
    )


def test_chat_and_stream(model: OpenAILike) -> None:
    """`chat` answers, and `stream_chat` says the same in pieces."""
    whole = model.chat(QUESTION).message.content
    assert whole
    assert "Baton" in whole
    pieces = list(model.stream_chat(QUESTION))
    assert len(pieces) > 1
    assert pieces[-1].message.content == whole
    assert "".join(piece.delta or "" for piece in pieces) == whole


def test_complete(model: OpenAILike) -> None:
    """`complete` and `stream_complete` agree."""
    whole = model.complete("你好").text
    assert whole
    assert list(model.stream_complete("你好"))[-1].text == whole
