"""The chat template writes exactly what the model was trained on."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from demo.chat import Chat, segments
from demo.corpus import mixture
from demo.tokenizer import encode, packaged

MODEL = Path(__file__).parents[2] / "demo" / "model"
tokenizer: Any = AutoTokenizer.from_pretrained(MODEL)


def rendered(chat: Chat) -> list[int]:
    """The ids that a server feeds to the model for the whole chat."""
    messages = [message.openai() for message in chat.messages]
    tools = [tool.openai() for tool in chat.tools] or None
    text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)
    return list(tokenizer(text.removesuffix("\n"), add_special_tokens=False)["input_ids"])


def test_template_gives_the_training_ids() -> None:
    """300 random chats, with tools, results and system messages, have the same ids both ways."""
    rng = random.Random(3)
    for chat in (mixture.chat(rng) for _ in range(300)):
        [(ids, _)] = encode(tokenizer.backend_tokenizer, [segments(chat)])
        assert rendered(chat) == ids


def test_saved_tokenizer_keeps_its_pre_tokenizer() -> None:
    """Loading by AutoTokenizer changes no id: digits and Han characters stand alone."""
    assert tokenizer.tokenize("47 + 38") == ["4", "7", "Ġ+Ġ", "3", "8"]
    assert packaged(tokenizer.backend_tokenizer)("你好 worker")["input_ids"] == tokenizer("你好 worker")["input_ids"]


@pytest.mark.parametrize(
    "tool",
    [
        {"name": "f"},
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
        {
            "type": "function",
            "function": {"name": "f", "parameters": {"properties": {"x": {"anyOf": []}, "items": {"type": ["a"]}}}},
        },
    ],
    ids=["bare", "no properties", "odd types"],
)
def test_template_takes_any_tool(tool: dict[str, object]) -> None:
    """A schema with parts missing, or of odd types, is written without an error."""
    text = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tools=[tool], tokenize=False)
    assert "<tools>\nf(" in text


def test_template_takes_content_parts_and_argument_strings() -> None:
    """A list of text parts is joined, a missing content is empty, arguments may come as a JSON string."""
    call = {"function": {"name": "f", "arguments": '{"x": 1}'}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "2", "tool_call_id": "1"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>user\nab<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call><|im_end|>\n'
        "<|im_start|>tool\n2<|im_end|>\n<|im_start|>assistant\n"
    )
