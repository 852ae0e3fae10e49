"""JSON on request: facts stand in the question, the reply is one JSON object."""

from __future__ import annotations

import json
import random

from demo.chat import Value
from demo.corpus import words
from demo.corpus.patterns import sections

NUMBERS = {
    *("size", "price", "count", "amount", "weight", "height", "year"),
    *("floor", "number", "id", "rank", "score", "level"),
}
LINKS = (  # between key and value, between pairs, before the last pair
    (" ", ", ", " and "),
    (" is ", ", ", " and "),
    ("=", ", ", ", "),
    (": ", ", ", ", "),
    (" = ", ", ", " and "),
    (" ", " and ", " and "),
    (" ", ", the ", " and the "),
)


def chat(rng: random.Random, held_back: bool = False) -> tuple[str, str]:
    """A request and its JSON reply."""
    request, reply = _sentence(rng, held_back) if rng.random() < 0.45 else _pairs(rng, held_back)
    if rng.random() < 0.6:
        request = request.replace("json", "JSON")
    if rng.random() < 0.5:
        request = request[:1].upper() + request[1:]
    return request + (rng.choice(("", "", "", ".", "!")) if request[-1].isalnum() else ""), reply


def _sentence(rng: random.Random, held_back: bool) -> tuple[str, str]:
    name = person(rng, held_back)
    found: dict[str, Value] = {"name": name}
    said: list[str] = []
    for line in rng.sample(sections("facts")["facts"], rng.choice((1, 2, 2, 3))):
        kind, key, phrase = line.split("|")
        if key not in found:
            found[key] = value(rng, kind, held_back)
            said.append(phrase.format(found[key]))
    text = f"{name} {', '.join(said[:-1])}{' and ' if len(said) > 1 else ''}{said[-1]}."
    return rng.choice(sections("facts")["sentences"]).format(text), json.dumps(found, ensure_ascii=False)


def _pairs(rng: random.Random, held_back: bool) -> tuple[str, str]:
    link, glue, end = rng.choice(LINKS)
    found: dict[str, Value] = {}
    for _ in range(rng.choice((1, 2, 2, 3, 3, 4))):
        key = words.word(rng, "key") if rng.random() < 0.8 else words.invented(rng)
        found.setdefault(key, value(rng, key, held_back))
    pieces = [f"{key}{link}{item}" for key, item in found.items()]
    text = glue.join(pieces[:-1]) + (end if len(pieces) > 1 else "") + pieces[-1]
    return rng.choice(sections("facts")["requests"]).format(text), json.dumps(found, ensure_ascii=False)


def person(rng: random.Random, held_back: bool = False) -> str:
    """A first name; in training also an invented one."""
    if held_back:
        return words.word(rng, "heldback_name")
    return words.word(rng, "name") if rng.random() < 0.55 else words.invented(rng).capitalize()


def city(rng: random.Random, held_back: bool = False) -> str:
    """A city; in training also an invented one."""
    if held_back:
        return words.word(rng, "heldback_city")
    return words.word(rng, "city") if rng.random() < 0.5 else words.invented(rng).capitalize()


def value(rng: random.Random, key: str, held_back: bool = False) -> Value:
    """A value that fits a key: a number, a listed word or an invented one."""
    if key == "age":
        return rng.randint(1, 99)
    if key == "city":
        return city(rng, held_back)
    if key == "name":
        return person(rng, held_back)
    if key in ("job", "pet", "color", "language", "topic", "unit") and rng.random() < 0.75:
        return words.word(rng, key)
    if key in NUMBERS:
        return rng.randint(0, rng.choice((9, 99, 999, 2030)))
    if rng.random() < 0.3:
        return rng.randint(0, rng.choice((9, 99, 999)))
    return rng.choice(
        (words.invented(rng), words.word(rng, "thing"), words.word(rng, "noun"), words.invented(rng).capitalize())
    )
