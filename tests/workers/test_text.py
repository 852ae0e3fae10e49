import itertools
import random
from collections.abc import Sequence

import pytest

from workers.text import REPLACEMENT, Detokenizer, StopMatcher

TEXT = "héllo, 世界! 😀👩‍👩‍👧 ok\n"


def decode_bytes(ids: Sequence[int]) -> str:
    """A tokenizer whose tokens are bytes."""
    return bytes(ids).decode(errors="replace")


def decode_strictly(ids: Sequence[int]) -> str:
    """A tokenizer that gives U+FFFD for every byte of a run that is not whole, as byte fallback does."""
    try:
        return bytes(ids).decode()
    except UnicodeDecodeError:
        return REPLACEMENT * len(ids)


@pytest.mark.parametrize("decode", [decode_bytes, decode_strictly])
def test_characters_stay_whole(decode: object) -> None:
    """Each character comes out once, with the token that completes it, and U+FFFD never does."""
    detokenizer = Detokenizer(decode)  # type: ignore[arg-type]
    pieces = [detokenizer.push(token) for token in (TEXT * 20).encode()]
    assert REPLACEMENT not in "".join(pieces)
    assert "".join(pieces) + detokenizer.finish() == TEXT * 20


def test_tokens_that_cut_characters_everywhere() -> None:
    """Tokens may end inside characters for ever: text still comes, and right."""
    text = "世界" * 400
    raw = text.encode()
    vocabulary = [raw[:1], *(raw[place : place + 3] for place in range(1, len(raw) - 1, 3)), raw[-2:]]

    def decode(ids: Sequence[int]) -> str:
        return b"".join(vocabulary[token] for token in ids).decode(errors="replace")

    detokenizer = Detokenizer(decode)
    pieces = [detokenizer.push(token) for token in range(len(vocabulary))]
    assert "".join(pieces[:100]) == text[:99]  # one character behind, at most


def test_an_unfinished_character_comes_out_at_the_end() -> None:
    """What never became a character is shown as U+FFFD, at the end."""
    detokenizer = Detokenizer(decode_bytes)
    assert [detokenizer.push(token) for token in b"a\xf0\x9f"] == ["a", "", ""]
    assert detokenizer.finish() == REPLACEMENT


def test_garbage_is_not_held_for_ever() -> None:
    """Bytes that never become characters come out as U+FFFD, all of them."""
    detokenizer = Detokenizer(decode_bytes)
    pieces = [detokenizer.push(0xFF) for _ in range(1000)]
    assert "".join(pieces) + detokenizer.finish() == REPLACEMENT * 1000
    assert len("".join(pieces)) > 900


def test_the_cost_per_token_does_not_grow() -> None:
    """The tokens decoded per token are bounded, however long the text."""
    seen = 0

    def decode(ids: Sequence[int]) -> str:
        nonlocal seen
        seen += len(ids)
        return decode_bytes(ids)

    detokenizer = Detokenizer(decode)
    for token in b"abc " * 5000:
        detokenizer.push(token)
    assert seen < 20_000 * 12


def test_context_is_kept() -> None:
    """A token whose text depends on the one before it is decoded with it."""

    def decode(ids: Sequence[int]) -> str:
        return " ".join(f"w{token}" for token in ids)  # a space between words, none in front

    detokenizer = Detokenizer(decode)
    assert "".join(detokenizer.push(token) for token in range(50)) == decode(range(50))


def test_stop_strings_match_naively_and_in_any_pieces() -> None:
    """Whatever the pieces, the text is cut before the stop string that ends first."""
    rng = random.Random(7)
    for _ in range(500):
        text = "".join(rng.choices("ab", k=30))
        stops = ["".join(rng.choices("ab", k=rng.randint(1, 6))) for _ in range(rng.randint(1, 3))]
        assert cut_in_pieces(text, stops, rng) == cut_naively(text, stops)


def cut_naively(text: str, stops: list[str]) -> str:
    ends = ((text.find(stop) + len(stop), -len(stop)) for stop in stops if stop in text)
    first = min(ends, default=None)
    return text if first is None else text[: first[0] + first[1]]


def cut_in_pieces(text: str, stops: list[str], rng: random.Random) -> str:
    matcher = StopMatcher(stops)
    places = [0, *sorted(rng.sample(range(1, len(text)), 5)), len(text)]
    shown = ""
    for start, end in itertools.pairwise(places):
        piece, stopped = matcher.push(text[start:end])
        shown += piece
        if stopped:
            return shown
    return shown + matcher.finish()


def test_a_possible_stop_string_is_held_back() -> None:
    """Text that may begin a stop string waits, and comes when it did not."""
    matcher = StopMatcher(["</s>"])
    assert matcher.push("one <") == ("one ", False)
    assert matcher.push("/") == ("", False)
    assert matcher.push("b>") == ("</b>", False)
    assert matcher.push("two</s>three") == ("two", True)
