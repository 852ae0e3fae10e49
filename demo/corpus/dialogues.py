"""Chats of several turns: remembering a name, tool results, and mixtures of everything."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from demo.chat import Chat, Message, Value
from demo.corpus import facts, toolbox, words
from demo.corpus.noise import noisy, punctuate
from demo.corpus.patterns import sections

Ask = Callable[[random.Random], tuple[str, str]]

SUBJECTS = ("name", "city", "pet", "color")
UNTOLD = "You have not told me that."


def memory(rng: random.Random, between: Ask, held_back: bool = False) -> Chat:
    """Something is told, now and then something else is said, then it is asked for."""
    subject = rng.choice(("name", "name", *SUBJECTS))
    tells, asks = sections("memory")[f"{subject} told"], sections("memory")[f"{subject} asked"]
    heard, recalled = sections("memory")[f"{subject} replies"]
    item = _memory_value(rng, subject, held_back)
    question = noisy(rng.choice(asks), rng, 0.6)
    if rng.random() < 0.1:
        opening = between(rng)
        return chat_of([opening, (question, UNTOLD)])
    turns = [(punctuate(_sentence(rng.choice(tells), rng).format(item), rng), heard.format(_upper(item)))]
    turns += [between(rng) for _ in range(rng.choice((0, 0, 0, 1, 1, 2)))]
    turns.append((question, recalled.format(item)))
    if rng.random() < 0.15:
        turns.append(between(rng))
    return chat_of(turns)


def _memory_value(rng: random.Random, subject: str, held_back: bool) -> str:
    if subject == "city":
        return facts.city(rng, held_back)
    if subject == "color":
        return words.word(rng, "color") if rng.random() < 0.8 else words.invented(rng)
    return facts.person(rng, held_back)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sentence(text: str, rng: random.Random) -> str:
    return text if rng.random() < 0.4 else _upper(text).replace(" i ", " I ")


def chat_of(turns: list[tuple[str, str]]) -> Chat:
    """A chat of questions and replies."""
    messages: list[Message] = []
    for question, reply in turns:
        messages += [Message("user", question), Message("assistant", reply)]
    return Chat(tuple(messages))


def tool_call(rng: random.Random, use: toolbox.Use, distractors: int) -> Chat:
    """A request that needs one of the tools, and the call."""
    tools = [use.tool]
    while len(tools) <= distractors:
        other = (toolbox.random_use(rng) if rng.random() < 0.5 else toolbox.use(rng)).tool
        if set(other.name.split("_")).isdisjoint(use.tool.name.split("_")) and not _same_kind(
            other.name, use.tool.name
        ):
            tools.append(other)
    rng.shuffle(tools)
    request = punctuate(_sentence(use.request, rng), rng)
    return Chat((Message("user", request), Message("assistant", call=use.call)), tuple(tools))


def _same_kind(a: str, b: str) -> bool:
    return bool(toolbox.first_names(a) & toolbox.first_names(b))


def tool_result(rng: random.Random, chat: Chat) -> Chat:
    """The chat goes on: the tool answers, the model says what it answered."""
    content, said = result(rng)
    return Chat((*chat.messages, Message("tool", content), Message("assistant", said)), chat.tools)


def result(rng: random.Random) -> tuple[str, str]:
    """What a tool returns, and the reply that states it."""
    draw = rng.random()
    if draw < 0.4:
        plain: Value = rng.choice((_number(rng), toolbox.phrase(rng), toolbox.phrase(rng)))
        return str(plain), f"The result is {plain}."
    found: dict[str, Value] = {}
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        key = rng.choice(
            (
                words.word(rng, "key"),
                words.word(rng, "noun"),
                "temperature",
                "sky",
                "result",
                "status",
                words.invented(rng),
            )
        )
        found.setdefault(key, rng.choice((_number(rng), toolbox.phrase(rng), facts.value(rng, key))))
    separators = (",", ":") if rng.random() < 0.25 else None
    said = ", ".join(str(item) if key == "result" else f"{key}: {item}" for key, item in found.items())
    return json.dumps(found, ensure_ascii=False, separators=separators), f"The result is {said}."


def _number(rng: random.Random) -> Value:
    whole = rng.randint(-20, rng.choice((9, 99, 999, 9999)))
    return whole if rng.random() < 0.8 else whole + rng.randint(1, 9) / 10
