import json
import random
import time

import pytest

from workers.tools import FoundCall, Piece, ToolParser

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": [2, "ü"]}}\n</tool_call>'
FOUND = FoundCall("add", '{"a":1,"b":[2,"ü"]}')


def parse(*texts: str) -> list[Piece]:
    """The pieces of a stream of texts, with texts next to each other joined."""
    parser = ToolParser()
    pieces = [piece for text in texts for piece in parser.push(text)]
    pieces.append(parser.finish())
    joined: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        elif piece:
            joined.append(piece)
    return joined


def test_finds_calls_between_text() -> None:
    """Text passes, calls are found, and the layout around calls is dropped."""
    assert parse(f"Let me see.\n{CALL}\n{CALL}") == ["Let me see.", FOUND, FOUND]


def test_pieces_make_no_difference() -> None:
    """However the text is cut, the same comes out."""
    text = f"a < b <tool {CALL} and {CALL}<tool_call>oops</tool_call> end"
    whole = parse(text)
    assert parse(*text) == whole
    rng = random.Random(3)
    for _ in range(200):
        place, other = sorted(rng.sample(range(len(text)), 2))
        assert parse(text[:place], text[place:other], text[other:]) == whole


def test_text_is_not_held_longer_than_needed() -> None:
    """Only a possible beginning of the tag waits."""
    parser = ToolParser()
    assert parser.push("hello <to") == ["hello"]
    assert parser.push("ast") == [" <toast"]


@pytest.mark.parametrize(
    "block",
    [
        "not json",
        '{"name": 1}',
        '{"arguments": {}}',
        '{"name": "f", "arguments": [1]}',
        "[" * 100_000,
        '{"name": "f", "arguments": {"x": 1e999}}',
    ],
)
def test_a_malformed_block_is_text(block: str) -> None:
    """What is no call is passed on as it came."""
    text = f"<tool_call>{block}</tool_call>"
    assert parse(text) == [text]


def test_an_open_block_is_text() -> None:
    """A block that never closes is passed on as it came."""
    assert parse("so <tool_call>", '{"name": "f"') == ['so <tool_call>{"name": "f"']


def test_arguments_may_be_missing_or_text() -> None:
    """A call without arguments has an empty object; arguments that are text already stay as they are."""
    assert parse('<tool_call>{"name": "f"}</tool_call>') == [FoundCall("f", "{}")]
    block = json.dumps({"name": "f", "arguments": '{"x": 1}'})
    assert parse(f"<tool_call>{block}</tool_call>") == [FoundCall("f", '{"x": 1}')]


@pytest.mark.parametrize("unit", ["<tool_call>", "</tool_call>", "<tool_call></tool_call>", "<tool_call", " ", "<"])
def test_hostile_text_takes_linear_time(unit: str) -> None:
    """A megabyte of tags or their beginnings is read in a moment, whole or in small pieces."""
    text = unit * (1_000_000 // len(unit))
    began = time.process_time()
    parse(text)
    parser = ToolParser()
    for place in range(0, len(text), 7):
        parser.push(text[place : place + 7])
    parser.finish()
    assert time.process_time() - began < 5
