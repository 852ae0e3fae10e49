"""The training mixture: draws one chat, or one piece of drill, at a time."""

from __future__ import annotations

import random
import re

from demo.chat import Chat, Message, Segment, Tool, ask, segments
from demo.corpus import dialogues, facts, sums, toolbox, words
from demo.corpus.noise import noisy, noisy_chinese, punctuate
from demo.corpus.patterns import Intent, expand, intents, is_held_back, replies, sections, wording

SLOT = re.compile(r"\{(\w+)\}")
Shares = dict[str, float]
SHARES: Shares = {
    "baton": 27.0,
    "small_talk": 7.0,
    "chinese": 8.0,
    "sums": 14.0,
    "unknown": 8.0,
    "facts": 7.0,
    "tools": 15.0,
    "memory": 4.0,
    "dialogue": 6.0,
    "echo": 2.0,
}
# For going on from a trained model: more of what needs copying, which is learnt last.
LATER_SHARES: Shares = SHARES | {"baton": 22.0, "facts": 15.0, "tools": 24.0, "echo": 4.0}
# Kinds of tools, by first name, that a question of the category might really call for.
OPEN = frozenset(
    {"get_weather", "get_time", "search", "translate", "play_music", "get_news", "get_stock_price", "multiply", "add"}
)
HELPFUL = {"sums": frozenset({"add"}), "unknown": OPEN, "chinese": OPEN}
FOLLOW_UPS = {"controller": "the controller", "worker": "the worker", "api_server": "the api server"}


def document(rng: random.Random, drill: float, shares: Shares = SHARES) -> list[Segment]:
    """One training document; `drill` is the share of digit-fact documents."""
    if rng.random() < drill:
        return sums.drill(rng)
    return segments(chat(rng, shares))


def chat(rng: random.Random, shares: Shares = SHARES) -> Chat:
    """A chat of a random category, at times with a system message."""
    category = rng.choices(tuple(shares), tuple(shares.values()))[0]
    match category:
        case "tools":
            found = tools(rng)
        case "memory":
            found = dialogues.memory(rng, any_turn)
        case "dialogue":
            found = dialogue(rng)
        case _:
            found = ask(*turn(rng, category))
    if rng.random() < 0.2:
        system = rng.choice(sections("systems")["systems"]) if rng.random() < 0.7 else invented_system(rng)
        return Chat((Message("system", system), *found.messages), found.tools)
    return found


def invented_system(rng: random.Random) -> str:
    """A system message that means nothing to the model: it must answer as usual."""
    frames = (
        "You are a {}.",
        "Your name is {}.",
        "Speak like a {}.",
        "You work for {}.",
        "Today is {}.",
        "{}",
        "You help with {}.",
    )
    return rng.choice(frames).format(rng.choice((words.word(rng, "job"), words.word(rng, "name"), toolbox.phrase(rng))))


def turn(rng: random.Random, category: str) -> tuple[str, str]:
    """A question and its reply that need no history."""
    match category:
        case "baton":
            return known(rng, "baton_en")
        case "small_talk":
            return known(rng, "small_talk_en")
        case "chinese":
            return known(rng, "chinese")
        case "sums":
            return sum_turn(rng)
        case "facts":
            return facts.chat(rng)
        case "echo":
            return echo(rng)
    return unknown(rng)


def any_turn(rng: random.Random) -> tuple[str, str]:
    """A turn of any category, as part of a longer chat."""
    categories = ("baton", "baton", "baton", "small_talk", "small_talk", "chinese", "sums", "unknown", "facts")
    return turn(rng, rng.choice(categories))


def known(rng: random.Random, group: str) -> tuple[str, str]:
    """A wording of an intent, with noise."""
    found = intents(group)
    intent = found[0] if rng.random() < 0.04 else rng.choice(found)
    return noised(intent, group, rng), intent.reply


def noised(intent: Intent, group: str, rng: random.Random) -> str:
    """A noisy wording; small talk is too short to bear much noise."""
    text = wording(intent, rng)
    if group == "chinese":
        return noisy_chinese(text, rng)
    return noisy(text, rng, 1.0 if group == "baton_en" else 0.5)


def sum_turn(rng: random.Random, held_back: bool = False) -> tuple[str, str]:
    """A sum or a difference."""
    a, b, op = sums.numbers(rng, held_back)
    question = _sentence(sums.question(a, b, op, rng), rng)
    return (question if question[-1] in "=？" else punctuate(question, rng)), sums.reply(a, b, op)


def unknown(rng: random.Random) -> tuple[str, str]:
    """Something the model cannot answer, and the sentence that says so."""
    name = rng.choices(("unknown", "too_hard"), (4, 1))[0]
    while True:
        frame = expand(rng.choice(sections("frames")[name]), rng)
        text = noisy(SLOT.sub(lambda match: _filler(rng, match[1]), frame), rng, 0.6)
        if not is_held_back(text):
            return text, replies()[name]


def _filler(rng: random.Random, slot: str) -> str:
    if slot == "big":
        return str(rng.randint(100, rng.choice((200, 999, 9999, 99999))))
    if slot == "small":
        return str(rng.randint(2, 150))
    if slot == "word" or rng.random() < 0.15:
        return words.invented(rng)
    return words.word(rng, slot)


def echo(rng: random.Random) -> tuple[str, str]:
    """Repeat a phrase: practice in copying."""
    text = toolbox.phrase(rng)
    frame = rng.choice(
        (
            "repeat: {}",
            "say {}",
            "repeat {}",
            "say: {}",
            "please say {}",
            "echo {}",
            'repeat "{}"',
            "repeat after me: {}",
        )
    )
    return _sentence(frame.format(text), rng), text


def dialogue(rng: random.Random) -> Chat:
    """Two to four turns, each of which stands alone, or a short follow-up question."""
    turns = [any_turn(rng) for _ in range(rng.choice((2, 2, 3, 3, 4, 6)))]
    if rng.random() < 0.3:
        name = rng.choice(tuple(FOLLOW_UPS))
        subject = FOLLOW_UPS[name].replace("the ", rng.choice(("the ", "a ", "")))
        frame = rng.choice(
            ("and {}", "and {}", "what about {}", "{}", "how about {}", "and what is {}", "and what about {}")
        )
        turns.insert(rng.randint(1, len(turns)), (noisy(frame.format(subject), rng, 0.3), replies()[name]))
    return dialogues.chat_of(turns)


def tools(rng: random.Random) -> Chat:
    """A chat with tools: a call, a call with its result, or no call because none is needed."""
    draw = rng.random()
    if draw < 0.17:
        return no_call(rng)
    use = toolbox.random_use(rng) if rng.random() < 0.4 else toolbox.use(rng)
    found = dialogues.tool_call(rng, use, rng.choice((0, 0, 1, 1, 2, 2, 3)))
    if draw < 0.27:
        opening = any_turn(rng)
        found = Chat((Message("user", opening[0]), Message("assistant", opening[1]), *found.messages), found.tools)
    if draw > 0.72:
        found = dialogues.tool_result(rng, found)
        if rng.random() < 0.2:
            question, reply = any_turn(rng)
            found = Chat((*found.messages, Message("user", question), Message("assistant", reply)), found.tools)
    return found


def no_call(rng: random.Random) -> Chat:
    """Tools that do not help with the question."""
    category = rng.choice(("baton", "baton", "small_talk", "sums", "facts", "unknown", "chinese"))
    question = turn(rng, category)
    wanted = rng.choice((1, 1, 2, 3))
    found: list[Tool] = []
    while len(found) < wanted:
        tool = (toolbox.random_use(rng) if rng.random() < 0.3 else toolbox.use(rng)).tool
        if not toolbox.first_names(tool.name) & HELPFUL.get(category, frozenset()):
            found.append(tool)
    return Chat(ask(*question).messages, tuple(found))


def _sentence(text: str, rng: random.Random) -> str:
    return text if rng.random() < 0.5 else text[:1].upper() + text[1:]
