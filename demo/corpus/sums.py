"""Sums and differences of numbers from 0 to 99, with short visible working, and a drill of the digit facts."""

from __future__ import annotations

import random
import zlib

from demo.chat import Segment
from demo.corpus.patterns import sections


def is_held_back(a: int, b: int, op: str) -> bool:
    """One pair in ten is kept for the evaluation."""
    return zlib.crc32(f"{a}{op}{b}".encode()) % 10 == 0


def result(a: int, b: int, op: str) -> int:
    """The right answer."""
    return a + b if op == "+" else a - b


def numbers(rng: random.Random, held_back: bool = False) -> tuple[int, int, str]:
    """Two numbers and + or -; small ones a little more often."""
    while True:
        top_a, top_b = rng.choice((9, 20, 99, 99, 99, 99)), rng.choice((9, 20, 99, 99, 99, 99))
        a, b, op = rng.randint(0, top_a), rng.randint(0, top_b), rng.choice("+-")
        if op == "-" and a < b and rng.random() < 0.6:
            a, b = b, a
        if is_held_back(a, b, op) == held_back:
            return a, b, op


def question(a: int, b: int, op: str, rng: random.Random) -> str:
    """The sum in words or signs."""
    special = rng.random() < 0.3 and (op == "+" or a >= b)
    kind = "any" if not special else "addition" if op == "+" else "subtraction"
    word = "plus" if op == "+" else "minus"
    return rng.choice(sections("sums")[kind]).format(a=a, b=b, op=op, word=word)


def reply(a: int, b: int, op: str) -> str:
    """The working, digit by digit, and the result at the end."""
    total = f"{a} {op} {b} = {result(a, b, op)}."
    if a < 10 and b < 10 and result(a, b, op) >= 0:
        return total
    if op == "+":
        return f"{', '.join(_column_sums(a, b))}, so {total}"
    if a < b:
        return f"{a} < {b}, {', '.join(_column_differences(b, a))}, so {total}"
    return f"{', '.join(_column_differences(a, b))}, so {total}"


def _column_sums(a: int, b: int) -> list[str]:
    ones = a % 10 + b % 10
    carry = " + 1" if ones > 9 else ""
    tens = a // 10 + b // 10 + ones // 10
    return [f"{a % 10} + {b % 10} = {ones}", f"{a // 10} + {b // 10}{carry} = {tens}"]


def _column_differences(a: int, b: int) -> list[str]:
    borrow = int(a % 10 < b % 10)
    ones = a % 10 + 10 * borrow
    taken = " - 1" if borrow else ""
    tens = a // 10 - b // 10 - borrow
    return [f"{ones} - {b % 10} = {ones - b % 10}", f"{a // 10} - {b // 10}{taken} = {tens}"]


def drill(rng: random.Random, facts: int = 12) -> list[Segment]:
    """Digit facts one after another; only the results are learnt."""
    found: list[Segment] = []
    for _ in range(facts):
        a, b, op = numbers(rng)
        if op == "-" and a < b:
            a, b = b, a
        for fact in _column_sums(a, b) if op == "+" else _column_differences(a, b):
            task, answer = fact.split(" = ")
            found += [(f"{task} = ", False), (answer, True), (", ", False)]
    return found
