"""Prompts as token ids. What is short is tokenised at once, what is long on a thread: the loop must not wait for it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from baton.errors import InvalidRequestError
from workers.conversation import check_text, template_messages, template_tools
from workers.engines.base import Engine, UnusableInputError
from workers.protocol import MAX_PROMPTS, ChatRequest, CompletionRequest

R = TypeVar("R")

LONG = 20_000  # characters or bytes; about two milliseconds of a quick tokenizer


async def chat_prompt(engine: Engine, request: ChatRequest, with_tools: bool, size: int) -> Sequence[int]:
    """The ids of a conversation, whose request had `size` bytes. Raises InvalidRequestError."""
    messages = template_messages(request.messages)

    def render() -> Sequence[int]:
        try:
            tools = template_tools(request.tools or ()) if with_tools else None
            return engine.tokenizer.render_chat(messages, tools)
        except UnusableInputError as error:
            raise InvalidRequestError(str(error), param="messages") from error
        except RecursionError:
            raise InvalidRequestError("`tools` are nested too deeply.", param="tools") from None

    return await _quickly(render, size)


async def completion_prompts(engine: Engine, request: CompletionRequest) -> list[Sequence[int]]:
    """The ids of every prompt. Raises InvalidRequestError."""
    prompts = split_prompts(request)
    size = sum(map(len, prompts))
    return [await _ids(engine, prompt, _where(request, index), size) for index, prompt in enumerate(prompts)]


def split_prompts(request: CompletionRequest) -> list[str | list[int]]:
    """The prompts of a request: one text, texts, one list of ids, or lists of ids; never a mixture."""
    given = request.prompt
    if isinstance(given, str):
        return [given]
    if all(isinstance(part, int) for part in given):
        return [[part for part in given if isinstance(part, int)]]
    kinds = {type(part) for part in given}
    if len(kinds) > 1:
        raise InvalidRequestError("`prompt` mixes texts and token ids.", param="prompt")
    if len(given) > MAX_PROMPTS:
        raise InvalidRequestError(f"`prompt` holds more than {MAX_PROMPTS} prompts.", param="prompt")
    return [part for part in given if not isinstance(part, int)]


async def _ids(engine: Engine, prompt: str | list[int], where: str, size: int) -> Sequence[int]:
    if isinstance(prompt, str):
        text = check_text(prompt, where)
        ids: Sequence[int] = await _quickly(lambda: engine.tokenizer.encode(text), size)
    else:
        ids = prompt
    if not ids:
        raise InvalidRequestError(f"`{where}` is empty.", param=where)
    return ids


def _where(request: CompletionRequest, index: int) -> str:
    return (
        f"prompt[{index}]" if isinstance(request.prompt, list) and not isinstance(request.prompt[0], int) else "prompt"
    )


async def _quickly(work: Callable[[], R], size: int) -> R:
    return work() if size < LONG else await asyncio.to_thread(work)
