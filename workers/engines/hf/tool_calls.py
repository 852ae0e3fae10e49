"""Tool calls of earlier turns, in the form that chat templates are written for."""

import json
from collections.abc import Mapping, Sequence

from workers.engines.base import Json


def with_objects(message: Mapping[str, Json]) -> dict[str, Json]:
    """The message with tool arguments as objects: OpenAI sends them as JSON text, templates write them as JSON."""
    calls = message.get("tool_calls")
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        return dict(message)
    return {**message, "tool_calls": [with_object(call) for call in calls]}


def with_object(call: Json) -> Json:
    """One tool call; what is not as OpenAI has it passes unchanged."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(function, Mapping):
        return call
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        return call
    try:
        parsed: Json = json.loads(arguments or "{}")
    except ValueError:
        return call  # a model once wrote it so; the template may still show it as it is
    return {**call, "function": {**function, "arguments": parsed}}
