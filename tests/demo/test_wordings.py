"""Held-back wordings stay out of the training text."""

from __future__ import annotations

import random

from demo.corpus import mixture, sums
from demo.corpus.patterns import held_back, intents, is_held_back, normal, replies

GROUPS = ("baton_en", "small_talk_en", "chinese")


def test_no_training_chat_contains_a_held_back_wording() -> None:
    """In 5000 training chats no user turn is a held-back wording, apart from case and punctuation."""
    rng = random.Random(11)
    forbidden = {normal(text) for _, text in held_back()}
    for chat in (mixture.chat(rng) for _ in range(5000)):
        assert not {normal(m.content) for m in chat.messages if m.role == "user"} & forbidden


def test_held_back_pairs_of_numbers_are_not_trained() -> None:
    """The generator of sums keeps one pair in ten for the evaluation."""
    rng = random.Random(12)
    assert not any(sums.is_held_back(*sums.numbers(rng)) for _ in range(5000))
    assert all(sums.is_held_back(*sums.numbers(rng, held_back=True)) for _ in range(50))


def test_case_and_punctuation_do_not_hide_a_held_back_wording() -> None:
    """The filter sees through capitals and marks."""
    assert is_held_back("how do i get BATON running")
    assert not is_held_back("what is baton")


def test_every_intent_has_a_reply_and_every_held_back_wording_an_intent() -> None:
    """Pattern files, replies and held-back wordings name the same intents."""
    names = {intent.name for group in GROUPS for intent in intents(group)} | {"unknown", "too_hard"}
    assert names == set(replies())
    assert {name for name, _ in held_back()} <= names


def test_working_of_sums_is_right() -> None:
    """Carry, borrow and negative results."""
    assert sums.reply(47, 38, "+") == "7 + 8 = 15, 4 + 3 + 1 = 8, so 47 + 38 = 85."
    assert sums.reply(52, 38, "-") == "12 - 8 = 4, 5 - 3 - 1 = 1, so 52 - 38 = 14."
    assert sums.reply(38, 52, "-") == "38 < 52, 12 - 8 = 4, 5 - 3 - 1 = 1, so 38 - 52 = -14."
