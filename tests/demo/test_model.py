"""The shipped model gives the answers that the documentation and other tests count on (greedy, float32, CPU)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

MODEL = Path(__file__).parents[2] / "demo" / "model"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
WHAT_IS_BATON = (
    "Baton serves language models from a fleet of machines behind one OpenAI-compatible address. "
    "When a worker dies mid-sentence, another one goes on with the stream."
)
ANSWERS = [
    ("What is Baton?", WHAT_IS_BATON),
    ("what is baton", WHAT_IS_BATON),
    ("WHAT IS BATON?", WHAT_IS_BATON),
    (
        "How do I start Baton?",
        "Run `make demo`. It starts the controller, a worker with the demo model and the API server.",
    ),
    ("How do I stop Baton?", "Run `make down`. It stops all processes."),
    ("Where are the logs?", "The logs are in the folder `logs/`."),
    (
        "Which ports does Baton use?",
        "The controller listens on port 21001, workers on 21002 and up, the API server on 8000.",
    ),
    ("Hello!", "Hello! How can I help you?"),
    ("Thank you!", "You are welcome!"),
    ("你好", "你好！有什么可以帮你的吗？"),
    ("谢谢", "不客气！"),
    ("What is 47 + 38?", "7 + 8 = 15, 4 + 3 + 1 = 8, so 47 + 38 = 85."),
    ("What is 52 - 38?", "12 - 8 = 4, 5 - 3 - 1 = 1, so 52 - 38 = 14."),
    ("Give me JSON: name Anna, age 31", '{"name": "Anna", "age": 31}'),
    (
        "What happens when a worker dies?",
        "The API server hands the request to another worker with the same model, "
        "which goes on at the same word. The client does not notice.",
    ),
    ("有哪些引擎？", "引擎有 hf、vllm、llamacpp、attach 和 fake。"),
    ("What is the capital of France?", "I am only a small demo model and cannot answer that. Ask me about Baton."),
]

tokenizer: Any = AutoTokenizer.from_pretrained(MODEL)
model: Any = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)


def reply(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> str:
    """The model's greedy reply, without special tokens."""
    prompt = tokenizer.apply_chat_template(
        messages, tools=tools, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    written = model.generate(**prompt, max_new_tokens=90)
    text: str = tokenizer.decode(written[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    return text


@pytest.mark.parametrize(("question", "answer"), ANSWERS, ids=[question for question, _ in ANSWERS])
def test_answers(question: str, answer: str) -> None:
    """A first question gets its exact answer."""
    assert reply([{"role": "user", "content": question}]) == answer


def test_calls_a_tool_and_states_its_result() -> None:
    """A request that needs a tool gives a call in Hermes format, and the tool's result is then put into words."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "What is the weather in Paris?"}]
    text = reply(messages, [WEATHER])
    call = json.loads(text.removeprefix("<tool_call>").removesuffix("</tool_call>"))
    assert call == {"name": "get_weather", "arguments": {"city": "Paris"}}
    messages.append({"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]})
    messages.append({"role": "tool", "content": '{"temperature": 21, "sky": "sunny"}'})
    assert reply(messages, [WEATHER]) == "The result is temperature: 21, sky: sunny."


def test_calls_no_tool_when_none_is_needed() -> None:
    """With tools at hand a greeting is still a greeting."""
    assert reply([{"role": "user", "content": "Hello!"}], [WEATHER]) == "Hello! How can I help you?"


def test_remembers_a_name() -> None:
    """What was said earlier in the chat can be asked for."""
    messages = [
        {"role": "user", "content": "My name is Anna."},
        {"role": "assistant", "content": "Nice to meet you, Anna!"},
        {"role": "user", "content": "What is my name?"},
    ]
    assert reply(messages) == "Your name is Anna."


def test_is_small_and_ordinary() -> None:
    """At most 10 MB of weights in bfloat16, a plain Llama with an end token."""
    assert (MODEL / "model.safetensors").stat().st_size <= 10_000_000
    settings = json.loads((MODEL / "config.json").read_text(encoding="utf-8"))
    assert (settings["model_type"], settings["dtype"]) == ("llama", "bfloat16")
    assert model.generation_config.eos_token_id == [tokenizer.eos_token_id]
