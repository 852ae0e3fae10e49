"""Word lists and invented words, the material of every generator."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
ONSETS = (
    *"bcdfghjklmnprstvwz",
    *("br", "ch", "cl", "dr", "fl", "gr", "kr", "pl", "pr", "sh", "sl", "st", "str", "th", "tr"),
)
VOWELS = ["a", "e", "i", "o", "u", "ai", "ea", "ee", "ia", "io", "oa", "ou"]
CODAS = ["", "", "", "l", "m", "n", "r", "s", "t", "x", "ck", "ll", "nd", "rt", "st"]


@cache
def lists() -> dict[str, list[str]]:
    """Every list of words.txt by its name; an entry with blanks needs `|` between entries."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in (HERE / "words.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            name = line[3:].strip()
        elif line.strip():
            found.setdefault(name, []).extend(line.split("|") if "|" in line else line.split())
    return found


def word(rng: random.Random, kind: str) -> str:
    """One entry of a list."""
    return rng.choice(lists()[kind])


def invented(rng: random.Random) -> str:
    """A word in lower case that means nothing, so that it can only be copied."""
    if rng.random() < 0.3:
        return rng.choice(_pieces()) + rng.choice(_pieces())
    parts = rng.choice((1, 2, 2, 3))
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(parts)) + rng.choice(CODAS)


@cache
def _pieces() -> list[str]:
    """Beginnings and ends of real words: joined, they give pieces that syllables never give."""
    words = [entry for kind in ("thing", "noun", "key", "act", "topic") for entry in lists()[kind]]
    return sorted({w[:n] for w in words for n in (2, 3, 4)} | {w[-n:] for w in words for n in (2, 3, 4)})
