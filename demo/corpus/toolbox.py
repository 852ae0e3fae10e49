"""Tools for the training chats: kinds with natural requests (tools.txt), and wholly random ones."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from demo.chat import Arg, Call, Tool, Value
from demo.corpus import facts, words
from demo.corpus.patterns import expand, sections

SLOT = re.compile(r"\{(\w+)\}")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "today", "tomorrow")
ROOMS = ("kitchen", "bathroom", "bedroom", "hall", "garage", "garden", "cellar", "office", "living", "attic", "nursery")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Kinds of values that need no list of words.
SMALL: dict[str, Callable[[random.Random], Value]] = {
    "int": lambda rng: rng.randint(0, rng.choice((9, 99, 99, 999))),
    "small": lambda rng: rng.randint(1, 12),
    "number": lambda rng: rng.randint(1, 999) if rng.random() < 0.8 else rng.randint(1, 999) / 10,
    "ticker": lambda rng: "".join(rng.choices(LETTERS, k=rng.choice((3, 4)))),
    "time": lambda rng: f"{rng.randint(0, 23)}:{rng.choice(('00', '15', '30', '45'))}",
    "day": lambda rng: rng.choice(DAYS),
    "room": lambda rng: rng.choice(ROOMS) if rng.random() < 0.7 else words.invented(rng),
    "onoff": lambda rng: rng.choice(("on", "off")),
}


@dataclass(frozen=True, slots=True)
class Slot:
    """A parameter of a kind of tool."""

    name: str
    keys: tuple[str, ...]
    type: str
    kind: str


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of tool under all its names, and how people ask for it."""

    names: tuple[str, ...]
    about: tuple[str, ...]
    slots: tuple[Slot, ...]
    requests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Use:
    """A tool, a request that needs it, and the right call."""

    tool: Tool
    request: str
    call: Call


@cache
def kinds() -> tuple[Kind, ...]:
    """The kinds of tools.txt."""
    return tuple(_kind(lines) for lines in sections("tools").values())


def first_names(name: str) -> frozenset[str]:
    """The kinds that a tool of this name may be of, each by its first name."""
    return frozenset(kind.names[0] for kind in kinds() if name in kind.names)


def _kind(lines: list[str]) -> Kind:
    names: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    slots: list[Slot] = []
    requests: list[str] = []
    for line in lines:
        head, _, rest = line.partition(": ")
        if head == "names":
            names = tuple(rest.split())
        elif head == "about":
            about = tuple(rest.split("|"))
        elif head == "arg":
            slots.append(_slot(rest))
        else:
            requests.append(line)
    return Kind(names, about, tuple(slots), tuple(requests))


def _slot(text: str) -> Slot:
    left, type_, kind = text.split(", ")
    name, keys = left.split(" = ")
    return Slot(name, tuple(keys.split()), type_, kind)


def use(rng: random.Random, held_back: bool = False) -> Use:
    """A natural request for a known kind of tool; held back: values that training never shows."""
    kind = rng.choice(kinds())
    return _use(kind, rng, held_back)


def _use(kind: Kind, rng: random.Random, held_back: bool) -> Use:
    values = {slot.name: value(rng, slot.kind, held_back) for slot in kind.slots}
    keys = {slot.name: slot.keys[0] if rng.random() < 0.5 else rng.choice(slot.keys) for slot in kind.slots}
    if len(set(keys.values())) < len(keys):
        keys = {slot.name: slot.keys[0] for slot in kind.slots}
    args = tuple(Arg(keys[slot.name], slot.type) for slot in kind.slots)
    name = kind.names[0] if rng.random() < 0.3 else rng.choice(kind.names)
    tool = Tool(name, described(rng.choice(kind.about), rng), args + _optional(rng, {a.name for a in args}))
    request = SLOT.sub(lambda match: _quoted(values[match[1]], rng), expand(rng.choice(kind.requests), rng))
    return Use(tool, request, Call(name, {keys[slot.name]: values[slot.name] for slot in kind.slots}))


def _quoted(item: Value, rng: random.Random) -> str:
    return f'"{item}"' if isinstance(item, str) and " " in item and rng.random() < 0.3 else str(item)


def _optional(rng: random.Random, taken: set[str]) -> tuple[Arg, ...]:
    """Now and then a parameter that the request does not mention and the call leaves out."""
    name = rng.choice(("unit", "limit", "format", "verbose", "mode", "page", words.word(rng, "key")))
    if rng.random() > 0.2 or name in taken:
        return ()
    return (Arg(name, rng.choice(("string", "integer", "boolean")), required=False),)


def described(text: str, rng: random.Random) -> str:
    """A description, shortened to nothing or ended with a full stop at times."""
    draw = rng.random()
    return "" if draw < 0.12 or not text else text + "." if draw < 0.4 else text


def value(rng: random.Random, kind: str, held_back: bool = False) -> Value:
    """A value of a slot."""
    match kind:
        case "city":
            return facts.city(rng, held_back)
        case "name":
            return facts.person(rng, held_back)
        case "language" | "currency":
            return words.word(rng, kind)
        case "topic":
            return words.invented(rng) if rng.random() < 0.3 else words.word(rng, kind)
        case "place_name":
            return rng.choice((_invented_name(rng), facts.person(rng, held_back), words.word(rng, "surname")))
        case "phrase":
            return phrase(rng)
    return SMALL[kind](rng)


def _invented_name(rng: random.Random) -> str:
    return words.invented(rng).capitalize()


def phrase(rng: random.Random) -> str:
    """One to four words without meaning for the model."""
    kinds_ = ("thing", "noun", "verb", "act", "topic", "color", "invented", "invented", "invented")
    chosen = rng.choices(kinds_, k=rng.choice((1, 1, 2, 2, 3, 4)))
    return " ".join(words.invented(rng) if k == "invented" else words.word(rng, k) for k in chosen)


def random_use(rng: random.Random) -> Use:
    """A tool with a random name and random parameters; the request says its words or its name."""
    act = words.word(rng, "act") if rng.random() < 0.75 else words.invented(rng)
    thing = words.word(rng, "noun") if rng.random() < 0.7 else words.invented(rng)
    name = rng.choice((f"{act}_{thing}", f"{act}_{thing}", f"{act}{thing.capitalize()}", f"{thing}_{act}", thing))
    about = rng.choice((f"{act} a {thing}", f"{act} the {thing}", f"{act} {thing}", "", "")).capitalize()
    if about and rng.random() < 0.25:
        name = rng.choice(
            (words.invented(rng), words.word(rng, "noun"), f"{words.word(rng, 'act')}_{words.invented(rng)}")
        )
    found = _random_arguments(rng, thing)
    args = tuple(Arg(key, "integer" if isinstance(item, int) else "string") for key, item in found.items())
    spoken = act if name != thing else rng.choice(("get", "use", "show"))
    request = _random_request(name if not about else f"{act} {thing}", spoken, thing, found, rng)
    return Use(Tool(name, described(about, rng), args + _optional(rng, set(found))), request, Call(name, found))


def _random_arguments(rng: random.Random, thing: str) -> dict[str, Value]:
    found: dict[str, Value] = {}
    if rng.random() < 0.15:
        found[thing] = facts.value(rng, thing)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3)) - len(found)):
        key = words.word(rng, "key") if rng.random() < 0.8 else words.invented(rng)
        found.setdefault(key, facts.value(rng, key) if rng.random() < 0.7 else phrase(rng))
    return found


def _random_request(name: str, act: str, thing: str, found: dict[str, Value], rng: random.Random) -> str:
    link, glue = rng.choice(((" ", " and "), (" is ", " and "), ("=", ", "), (": ", ", "), (" = ", ", "), (" ", ", ")))
    parts = glue.join(f"{key}{link}{item}" for key, item in found.items())
    task = rng.choice(sections("tasks")["tasks"]).format(act=act, thing=thing, name=name)
    if not parts:
        return task
    if thing in found and len(found) == 1:
        article = rng.choice(("", "the ", "my "))
        return f"{act} {article}{rng.choice((f'{thing} {found[thing]}', f'{found[thing]} {thing}'))}"
    if len(found) == 1 and rng.random() < 0.3:
        return f"{task} {rng.choice(('for', 'with', 'of', 'in', 'to'))} {next(iter(found.values()))}"
    return f"{task}{rng.choice((' with ', ' with the ', ', ', ': ', ' where ', ' for ', ' by '))}{parts}"


def parsed(line: str) -> Tool:
    """The tool of a line as `Tool.line` writes it."""
    name, _, rest = line.partition("(")
    inside, _, about = rest.partition(")")
    pairs = [part.split(": ") for part in inside.split(", ") if part]
    return Tool(name, about.strip(), tuple(Arg(key, type_) for key, type_ in pairs))
