"""The evaluation's questions with their right answers, by category; none of them is in training."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from demo.chat import END, Call, Chat, Message, ask, prompt
from demo.corpus import dialogues, facts, mixture, toolbox
from demo.corpus.patterns import held_back, intents, replies, wording

HELD_BACK_TOOLS = Path(__file__).parent / "heldback_tools.jsonl"


@dataclass(frozen=True, slots=True)
class Case:
    """A prompt, the right reply, and how to tell whether a reply is right."""

    prompt: str
    expected: str
    same: Callable[[str, str], bool]


def exact(reply: str, expected: str) -> bool:
    """The whole reply."""
    return reply == expected


def same_number(reply: str, expected: str) -> bool:
    """The last number."""
    return re.findall(r"-?\b\d+", reply)[-1:] == re.findall(r"(?<== )-?\d+", expected)[-1:]


def same_json(reply: str, expected: str) -> bool:
    """The parsed object; of a tool call its name and arguments."""
    try:
        return bool(json.loads(_bare(reply)) == json.loads(_bare(expected)))
    except ValueError:
        return False


def _bare(text: str) -> str:
    return text.removeprefix("<tool_call>").removesuffix("</tool_call>")


def case(chat: Chat, same: Callable[[str, str], bool] = exact) -> Case:
    """The chat's last reply is what the model has to write."""
    return Case(prompt(chat), chat.messages[-1].text().removesuffix(END), same)


def categories(items: int, seed: int = 1) -> dict[str, list[Case]]:
    """Cases by category; `items` of each where they are generated, at most so many where they are written."""
    rng = random.Random(f"evaluation {seed}")

    def some(make: Callable[[], Case]) -> list[Case]:
        return [make() for _ in range(items)]

    def drawn(chats: list[Case]) -> list[Case]:
        return rng.sample(chats, min(items, len(chats)))

    return {
        "Baton, trained wordings": some(lambda: _trained(rng, "baton_en")),
        "Baton, trained wordings with noise": some(lambda: _noised(rng, "baton_en")),
        "Baton, held-back wordings": drawn(_written("baton_en")),
        "small talk, trained wordings": some(lambda: _trained(rng, "small_talk_en")),
        "small talk, held-back wordings": drawn(_written("small_talk_en")),
        "Chinese, trained wordings": some(lambda: _trained(rng, "chinese")),
        "Chinese, held-back wordings": drawn(_written("chinese")),
        "sums 0-99, held-back pairs": some(lambda: case(ask(*mixture.sum_turn(rng, held_back=True)), same_number)),
        "out of scope, trained frames": some(lambda: case(ask(*mixture.unknown(rng)))),
        "out of scope, held-back wordings": drawn(_written("")),
        "tool call, known tools, unseen values": some(lambda: _known_tool(rng)),
        "tool call, random tools": some(lambda: _random_tool(rng)),
        "tool call, tools never trained": _new_tools(items),
        "tool result, stated": some(lambda: _tool_result(rng)),
        "tools given, none needed": some(lambda: case(mixture.no_call(rng))),
        "JSON, unseen values": some(lambda: case(ask(*facts.chat(rng, held_back=True)), same_json)),
        "name recalled, unseen names": some(lambda: case(dialogues.memory(rng, mixture.any_turn, held_back=True))),
        "chats of several turns": some(lambda: case(mixture.dialogue(rng))),
    }


def _trained(rng: random.Random, group: str) -> Case:
    intent = rng.choice(intents(group))
    return case(ask(wording(intent, rng), intent.reply))


def _noised(rng: random.Random, group: str) -> Case:
    intent = rng.choice(intents(group))
    return case(ask(mixture.noised(intent, group, rng), intent.reply))


def _written(group: str) -> list[Case]:
    """The held-back wordings of a group; those out of scope where the group is empty."""
    names = {intent.name for intent in intents(group)} if group else {"unknown", "too_hard"}
    return [case(ask(text, replies()[name])) for name, text in held_back() if name in names]


def _known_tool(rng: random.Random) -> Case:
    use = toolbox.use(rng, held_back=True)
    return case(dialogues.tool_call(rng, use, rng.choice((0, 1, 2))), same_json)


def _random_tool(rng: random.Random) -> Case:
    return case(dialogues.tool_call(rng, toolbox.random_use(rng), rng.choice((0, 1, 2))), same_json)


def _tool_result(rng: random.Random) -> Case:
    call = dialogues.tool_call(rng, toolbox.use(rng), rng.choice((0, 1)))
    return case(dialogues.tool_result(rng, call))


def _new_tools(items: int) -> list[Case]:
    found = []
    for line in HELD_BACK_TOOLS.read_text(encoding="utf-8").splitlines()[:items]:
        row = json.loads(line)
        tool = toolbox.parsed(row["tool"])
        answer = Message("assistant", call=Call(row["name"], row["arguments"]))
        found.append(case(Chat((Message("user", row["ask"]), answer), (tool,)), same_json))
    return found
