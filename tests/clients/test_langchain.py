"""LangChain's `ChatOpenAI`, against the demo model."""

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.clients.conftest import KEY
from tests.conftest import DEMO
from tests.processes import WAIT

QUESTION = "What is Baton?"


@pytest.fixture
def model(base_url: str) -> ChatOpenAI:
    return ChatOpenAI(base_url=base_url, api_key=SecretStr(KEY), model=DEMO, temperature=0, max_retries=0, timeout=WAIT)


def test_invoke_and_stream(model: ChatOpenAI) -> None:
    """`invoke` answers, `stream` says the same in pieces, and both count tokens."""
    whole = model.invoke(QUESTION)
    assert "Baton" in str(whole.content)
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] > 0
    pieces = list(model.stream(QUESTION))
    assert len(pieces) > 1
    gathered = pieces[0]
    for piece in pieces[1:]:
        gathered += piece
    assert gathered.content == whole.content
    assert isinstance(gathered, AIMessageChunk)


async def test_a_batch(model: ChatOpenAI) -> None:
    """`abatch` gets an answer for each question."""
    answers = await model.abatch([QUESTION, "你好", QUESTION])
    assert all(answer.content for answer in answers)
    assert answers[0].content == answers[2].content


def test_tools_may_be_bound(model: ChatOpenAI) -> None:
    """With bound tools an answer is text or calls of them."""

    def get_weather(city: str) -> str:
        """The weather in a city."""
        return city

    answer = model.bind_tools([get_weather]).invoke("What is the weather in Paris?")
    assert answer.content or answer.tool_calls
    assert all(call["name"] == "get_weather" for call in answer.tool_calls)
