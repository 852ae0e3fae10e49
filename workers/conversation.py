"""OpenAI's messages and tools → what chat templates take. Pure."""

from collections.abc import Sequence

import msgspec

from baton.errors import InvalidRequestError, UnsupportedParameterError
from workers.engines.base import Json
from workers.protocol import Message, Part, Tool

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
TEXT_PARTS = ("text", "input_text", "output_text")
OTHER_PARTS = ("image_url", "input_image", "input_audio", "audio_url", "video_url", "file", "input_file", "refusal")


def template_messages(messages: Sequence[Message]) -> list[dict[str, Json]]:
    """The conversation with plain text contents. Raises InvalidRequestError naming the field that is wrong."""
    return [_message(message, f"messages[{index}]") for index, message in enumerate(messages)]


def template_tools(tools: Sequence[Tool]) -> list[dict[str, Json]]:
    """The tools in OpenAI's form, without what their template cannot know."""
    return [{"type": "function", "function": msgspec.to_builtins(tool.function)} for tool in tools]


def check_text(text: str, param: str) -> str:
    """Refuses NUL: it ends strings in too many libraries to be passed on."""
    if "\0" in text:
        raise InvalidRequestError(f"`{param}` contains the character NUL.", param=param)
    return text


def _message(message: Message, where: str) -> dict[str, Json]:
    role = ROLES.get(message.role)
    if role is None:
        known = ", ".join(ROLES)
        raise InvalidRequestError(f"`{where}.role` is none of {known}.", param=f"{where}.role")
    for field in ("function_call", "audio"):
        if getattr(message, field) is not None:
            raise UnsupportedParameterError(f"`{where}.{field}` is not supported.", param=f"{where}.{field}")
    made: dict[str, Json] = {"role": role, "content": _content(message, where)}
    if message.name is not None:
        made["name"] = check_text(message.name, f"{where}.name")
    if message.tool_call_id is not None:
        made["tool_call_id"] = check_text(message.tool_call_id, f"{where}.tool_call_id")
    if message.tool_calls:
        made["tool_calls"] = _tool_calls(message, where)
    return made


def _content(message: Message, where: str) -> str:
    content = message.content
    if isinstance(content, str):
        return check_text(content, f"{where}.content")
    if content is None:
        if message.role == "assistant":
            return ""  # a turn that only called tools, or an empty answer
        raise InvalidRequestError(f"`{where}.content` is missing.", param=f"{where}.content")
    return "\n".join(_part(part, f"{where}.content[{index}]") for index, part in enumerate(content))


def _part(part: Part, where: str) -> str:
    if part.type in OTHER_PARTS:
        raise UnsupportedParameterError(f"`{where}`: this model takes text only.", param=where)
    if part.type not in TEXT_PARTS:
        raise InvalidRequestError(f"`{where}.type` is not a content type that exists.", param=f"{where}.type")
    if part.text is None:
        raise InvalidRequestError(f"`{where}.text` is missing.", param=f"{where}.text")
    return check_text(part.text, f"{where}.text")


def _tool_calls(message: Message, where: str) -> list[Json]:
    if message.role != "assistant":
        raise InvalidRequestError("Only an assistant's message has tool calls.", param=f"{where}.tool_calls")
    for index, call in enumerate(message.tool_calls or ()):
        place = f"{where}.tool_calls[{index}].function"
        check_text(call.function.name, f"{place}.name")
        check_text(call.function.arguments, f"{place}.arguments")
    calls: list[Json] = msgspec.to_builtins(message.tool_calls)
    return calls
