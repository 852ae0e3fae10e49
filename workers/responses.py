"""OpenAI's answers as msgspec structs: whole responses and stream chunks."""

import msgspec
from msgspec import UNSET, UnsetType

from workers.tools import FoundCall


class Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


def usage(prompt: int, completion: int) -> Usage:
    return Usage(prompt, completion, prompt + completion)


class Function(msgspec.Struct, frozen=True):
    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True):
    """A call; `index` only in streams."""

    id: str
    function: Function
    type: str = "function"
    index: int | UnsetType = UNSET


def tool_call(found: FoundCall, call_id: str, index: int | UnsetType = UNSET) -> ToolCall:
    return ToolCall(id=call_id, function=Function(found.name, found.arguments), index=index)


class AnswerMessage(msgspec.Struct, frozen=True):
    content: str | None
    role: str = "assistant"
    refusal: None = None
    tool_calls: list[ToolCall] | UnsetType = UNSET


class ChatChoice(msgspec.Struct, frozen=True):
    index: int
    message: AnswerMessage
    finish_reason: str
    logprobs: None = None


class TextChoice(msgspec.Struct, frozen=True):
    """A choice of `/v1/completions`, whole or in a stream; `finish_reason` is null until the last chunk."""

    index: int
    text: str
    finish_reason: str | None
    logprobs: None = None


class Answer(msgspec.Struct, frozen=True):
    """A whole response, of chat or of completions."""

    id: str
    object: str
    created: int
    model: str
    choices: list[ChatChoice] | list[TextChoice]
    usage: Usage
    system_fingerprint: None = None


class Delta(msgspec.Struct, frozen=True):
    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET


class DeltaChoice(msgspec.Struct, frozen=True):
    index: int
    delta: Delta
    finish_reason: str | None = None
    logprobs: None = None


class Chunk(msgspec.Struct, frozen=True):
    """One event of a stream. `usage` is absent unless asked for; then null on all but the last."""

    id: str
    object: str
    created: int
    model: str
    choices: list[DeltaChoice] | list[TextChoice]
    system_fingerprint: None = None
    usage: Usage | UnsetType | None = UNSET


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: str = "model"
    created: int
    owned_by: str = "baton"
    max_model_len: int | None  # vLLM's name for it; null while the model loads


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    object: str = "list"
    data: list[ModelCard]


encode = msgspec.json.Encoder().encode
