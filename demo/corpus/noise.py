"""Noise on questions: case, punctuation, politeness, synonyms, dropped words, typing errors."""

from __future__ import annotations

import random
import re
from functools import cache

from demo.corpus.patterns import is_held_back, sections

DROPPABLE = frozenset(
    [
        "the",
        "a",
        "an",
        "do",
        "does",
        "i",
        "is",
        "are",
        "to",
        "of",
        "can",
        "you",
        "me",
        "my",
        "please",
        "in",
        "for",
        "it",
    ]
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@cache
def table(name: str) -> dict[str, str]:
    """The `word = others` lines of a section of noise.txt."""
    pairs = (line.partition(" = ") for line in sections("noise")[name])
    return {word: others for word, _, others in pairs}


def noisy(text: str, rng: random.Random, strength: float = 1.0) -> str:
    """The question as a hurried person would type it; never a held-back wording."""
    while True:
        found = punctuate(cased(_worded(text, rng, strength), rng), rng)
        if not is_held_back(found):
            return found


def _worded(text: str, rng: random.Random, strength: float) -> str:
    words = text.split(" ")
    if rng.random() < 0.25 * strength:
        words = _swap_synonym(words, rng)
    if len(words) > 3 and rng.random() < 0.15 * strength:
        words = _drop(words, rng)
    if rng.random() < 0.13 * strength:
        words = _mistype(words, rng)
    text = " ".join(words)
    if rng.random() < 0.14 * strength:
        text = f"{rng.choice(sections('noise')['prefixes'])} {text}"
    if rng.random() < 0.1 * strength:
        suffix = rng.choice(sections("noise")["suffixes"])
        text += suffix if suffix[0] in ",?." else f" {suffix}"
    return text


def _swap_synonym(words: list[str], rng: random.Random) -> list[str]:
    synonyms = table("synonyms")
    places = [i for i, w in enumerate(words) if w in synonyms and not (w == "baton" and len(words) < 6)]
    if not places:
        return words
    place = rng.choice(places)
    return [*words[:place], rng.choice(synonyms[words[place]].split("/")), *words[place + 1 :]]


def _drop(words: list[str], rng: random.Random) -> list[str]:
    places = [i for i, w in enumerate(words) if w in DROPPABLE]
    if not places:
        return words
    gone = set(rng.sample(places, rng.randint(1, min(2, len(places)))))
    return [w for i, w in enumerate(words) if i not in gone]


def _mistype(words: list[str], rng: random.Random) -> list[str]:
    places = [i for i, w in enumerate(words) if len(w) > 3 and w.isalpha()]
    if not places:
        return words
    place = rng.choice(places)
    w = words[place]
    at = rng.randrange(len(w) - 1)
    changed = rng.choice((
        w[:at] + w[at + 1] + w[at] + w[at + 2 :],
        w[:at] + w[at + 1 :],
        w[:at] + w[at] + w[at:],
        w[:at] + rng.choice(LETTERS) + w[at + 1 :],
    ))  # fmt: skip
    return [*words[:place], changed, *words[place + 1 :]]


def cased(text: str, rng: random.Random) -> str:
    """Lower case, a proper sentence, a mix, or capitals."""
    draw = rng.random()
    if draw < 0.33:
        return text
    if draw < 0.38:
        return text.upper()
    if draw < 0.41:
        return text.title()
    words = re.split(r"(\W+)", text)
    proper = table("proper")
    keep = 1.0 if draw < 0.85 else 0.5
    text = "".join(proper[w] if w in proper and rng.random() < keep else w for w in words)
    return text[:1].upper() + text[1:]


def punctuate(text: str, rng: random.Random) -> str:
    """An end mark, or none."""
    if text[-1:] in "?!.":
        return text
    asks = text.lower().startswith(("wh", "how", "can", "do", "is", "are", "may", "will", "who", "could", "if"))
    marks = ("?", "?", "?", "", "", "??", " ?") if asks else ("", "", ".", "?", "!", "")
    return text + rng.choice(marks)


def noisy_chinese(text: str, rng: random.Random) -> str:
    """The Chinese question with some beginning and end mark; never a held-back wording."""
    while True:
        start = rng.choice(("", "", "", "", "", "请问", "请问，", "你好，", "那么"))
        found = start + text + ("" if text[-1:] in "？！，。" else rng.choice(("？", "？", "", "", "?", "。", "！")))
        if not is_held_back(found):
            return found
