"""Hand-written wordings: parse the pattern files, draw a wording, keep held-back ones out."""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
CHOICE = re.compile(r"\[([^\[\]]*)\]")
MACRO = re.compile(r"\{(\w+)\}")
GROUPS = ("baton_en", "small_talk_en", "chinese")


@dataclass(frozen=True, slots=True)
class Intent:
    """One question in all its wordings, and its only reply."""

    name: str
    reply: str
    patterns: tuple[str, ...]
    weights: tuple[float, ...]


def lines_of(name: str) -> list[str]:
    """The lines of a data file without comments and blanks."""
    text = (HERE / f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


@cache
def sections(name: str) -> dict[str, list[str]]:
    """The lines of a pattern file by the section (`== intent`) they stand in."""
    found: dict[str, list[str]] = {}
    current = ""
    for line in lines_of(name):
        if line.startswith("== "):
            current = line[3:].strip()
        else:
            found.setdefault(current, []).append(line)
    return found


@cache
def replies() -> dict[str, str]:
    """Reply by intent."""
    return {name.strip(): reply.strip() for name, reply in (line.split("|", 1) for line in lines_of("replies"))}


@cache
def macros() -> dict[str, str]:
    """Choice group by macro name."""
    pairs = (line.split(" = ", 1) for line in lines_of("macros"))
    return {name: f"[{choices}]" for name, choices in pairs}


@cache
def intents(group: str) -> tuple[Intent, ...]:
    """The intents of one pattern file."""
    found = []
    for name, patterns in sections(group).items():
        plain = tuple(MACRO.sub(lambda match: macros()[match[1]], pattern) for pattern in patterns)
        found.append(Intent(name, replies()[name], plain, tuple(1 + math.log(count(p)) for p in plain)))
    return tuple(found)


def count(pattern: str) -> int:
    """How many wordings a pattern of flat choices stands for."""
    return math.prod(len(choices.split("|")) for choices in CHOICE.findall(pattern))


def expand(pattern: str, rng: random.Random) -> str:
    """One wording of a pattern."""
    while CHOICE.search(pattern):
        pattern = CHOICE.sub(lambda match: rng.choice(match[1].split("|")), pattern)
    return re.sub(r" {2,}", " ", pattern).strip()


def wording(intent: Intent, rng: random.Random) -> str:
    """A wording that is not held back."""
    while True:
        text = expand(rng.choices(intent.patterns, intent.weights)[0], rng)
        if not is_held_back(text):
            return text


def normal(text: str) -> str:
    """What counts as the same wording: letters, digits and operators in lower case."""
    return " ".join(re.findall(r"[^\W_]+|[+*/-]", text.lower()))


@cache
def held_back() -> tuple[tuple[str, str], ...]:
    """(intent, wording) pairs that are kept for the evaluation."""
    text = (HERE.parent / "heldback.txt").read_text(encoding="utf-8")
    rows = [line.split("|", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return tuple((intent.strip(), wording.strip()) for intent, wording in rows)


@cache
def _held_back_normal() -> frozenset[str]:
    return frozenset(normal(text) for _, text in held_back())


def is_held_back(text: str) -> bool:
    """Whether this wording, apart from case and punctuation, is kept for the evaluation."""
    return normal(text) in _held_back_normal()
