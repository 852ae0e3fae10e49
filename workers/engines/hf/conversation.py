"""From OpenAI's form of messages to the form that chat templates are written for."""

import json
from collections.abc import Mapping, Sequence

from workers.engines.base import Json, UnusableInputError


def for_template(messages: Sequence[Mapping[str, Json]]) -> list[dict[str, Json]]:
    """Messages with plain-text content, and tool arguments as objects."""
    return [for_template_one(message) for message in messages]


def for_template_one(message: Mapping[str, Json]) -> dict[str, Json]:
    """One message; fields that templates do not know pass unchanged."""
    changed = {**message, "content": as_text(message.get("content"))}
    calls = message.get("tool_calls")
    if isinstance(calls, Sequence) and not isinstance(calls, str):
        changed["tool_calls"] = [with_parsed_arguments(call) for call in calls]
    return changed


def as_text(content: Json) -> str:
    """Content as text: templates join it to other strings, so None becomes an empty one."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "\n".join(part_text(part) for part in content)
    raise UnusableInputError("a message's content must be text, or a list of text parts")


def part_text(part: Json) -> str:
    """The text of one part of a message."""
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, Mapping) else None
    if not isinstance(text, str):
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        raise UnusableInputError(f"this model takes text only, not a message part of type {kind!r}")
    return text


def with_parsed_arguments(call: Json) -> Json:
    """A tool call whose arguments are an object: OpenAI sends them as JSON text, templates write them as JSON."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(function, Mapping):
        return call
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        return call
    try:
        parsed: Json = json.loads(arguments or "{}")
    except ValueError:
        return call  # the model once wrote it so; the template may still show it as it is
    return {**call, "function": {**function, "arguments": parsed}}
