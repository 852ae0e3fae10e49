"""Tool calls in a model's text, in the Hermes form: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`. Pure."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

OPEN = "<tool_call>"
CLOSE = "</tool_call>"


@dataclass(frozen=True, slots=True)
class FoundCall:
    """One whole call; `arguments` is JSON, as OpenAI's clients expect it."""

    name: str
    arguments: str


Piece: TypeAlias = str | FoundCall


class _Block(msgspec.Struct):
    name: str
    arguments: Any = None


_decode_block = msgspec.json.Decoder(_Block).decode


class ToolParser:
    """Splits a stream of text into shown text and calls. Linear in the text, however it is cut into pieces.

    White space is held until something is shown after it: around calls it is layout, not content.
    """

    __slots__ = ("_block", "_rest", "_seen", "_space")

    def __init__(self) -> None:
        self._rest = ""  # outside a block: a possible beginning of OPEN
        self._space: list[str] = []
        self._block: list[str] | None = None  # inside a block: its text so far, in pieces
        self._seen = ""  # inside a block: the end of that text, which may begin CLOSE

    def push(self, text: str) -> list[Piece]:
        """What the text completes, in order."""
        pieces: list[Piece] = []
        text, self._rest = self._rest + text, ""
        at = 0
        while at < len(text):
            at = self._outside(text, at, pieces) if self._block is None else self._inside(text, at, pieces)
        return pieces

    def finish(self) -> str:
        """What was held back: a block that never closed is plain text."""
        space, self._space = "".join(self._space), []
        if self._block is None:
            return space + self._rest
        return space + OPEN + "".join(self._block)

    def _outside(self, text: str, at: int, pieces: list[Piece]) -> int:
        """Show the text from `at` up to the next block; gives the place where to go on."""
        start = text.find(OPEN, at)
        if start >= 0:
            self._show(text[at:start], pieces)
            self._block, self._seen = [], ""
            return start + len(OPEN)
        end = len(text) - _overlap(text[at:], OPEN)
        self._show(text[at:end], pieces)
        self._rest = text[end:]
        return len(text)

    def _inside(self, text: str, at: int, pieces: list[Piece]) -> int:
        """Gather the block up to its end; gives the place where to go on."""
        assert self._block is not None  # noqa: S101 - for the type checker; `push` looked
        end = self._end_of_block(text, at)
        if end < 0:
            self._block.append(text[at:])
            self._seen = (self._seen + text[at:])[-(len(CLOSE) - 1) :]
            return len(text)
        block = "".join((*self._block, text[at:end]))
        self._block = None
        call = read_call(block[: -len(CLOSE)])
        if call:
            self._space = []
            pieces.append(call)
        else:
            self._show(OPEN + block, pieces)
        return end

    def _end_of_block(self, text: str, at: int) -> int:
        """Where the closing tag ends, or −1; the tag may have begun in an earlier piece."""
        head = self._seen + text[at : at + len(CLOSE) - 1]
        found = head.find(CLOSE)
        if found >= 0:
            return at + found + len(CLOSE) - len(self._seen)
        found = text.find(CLOSE, at)
        return found + len(CLOSE) if found >= 0 else -1

    def _show(self, text: str, pieces: list[Piece]) -> None:
        solid = text.rstrip()
        if solid:
            pieces.append("".join(self._space) + solid)
            self._space = []
        if len(solid) < len(text):
            self._space.append(text[len(solid) :])


def read_call(block: str) -> FoundCall | None:
    """The call in a block's JSON, or None where it is none."""
    try:
        found = _decode_block(block)
    except (msgspec.DecodeError, RecursionError):
        return None
    if isinstance(found.arguments, str):
        return FoundCall(found.name, found.arguments)
    if found.arguments is None or isinstance(found.arguments, dict):
        return FoundCall(found.name, msgspec.json.encode(found.arguments or {}).decode())
    return None


def _overlap(text: str, tag: str) -> int:
    """Length of the longest end of `text` that begins `tag`."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if tag.startswith(text[-length:]):
            return length
    return 0
