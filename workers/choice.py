"""One answer as its tokens come: what may be shown, and when it is over. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workers.engines.base import FinishReason, Token
from workers.text import Detokenizer, StopMatcher
from workers.tools import FoundCall, Piece, ToolParser


@dataclass(frozen=True, slots=True)
class Reading:
    """How the text of an answer is read."""

    stops: tuple[str, ...] = ()
    tool_calls: bool = False
    parallel_tool_calls: bool = True  # False: the answer ends with its first call


@dataclass(frozen=True, slots=True)
class Progress:
    """What one token, or several, made ready. `finish` is set once, on the last."""

    pieces: tuple[Piece, ...]
    tokens: int  # of the answer so far
    finish: str | None = None  # OpenAI's finish_reason


class Choice:
    """Reads one answer, token by token."""

    def __init__(self, decode: Callable[[Sequence[int]], str], reading: Reading) -> None:
        self._text = Detokenizer(decode)
        self._stops = StopMatcher(reading.stops)
        self._tools = ToolParser() if reading.tool_calls else None
        self._reading = reading
        self._called = False
        self._tokens = 0

    def push(self, token: Token) -> Progress | None:
        """What this token completes; None when there is nothing new to show."""
        self._tokens += 1
        ended_by_id = token.finish is FinishReason.STOP  # the token that ends an answer is not part of its text
        shown, stopped = self._stops.push("" if ended_by_id else self._text.push(token.id))
        pieces = self._read(shown)
        if stopped:
            return self._end(pieces, FinishReason.STOP)
        if self._called and not self._reading.parallel_tool_calls:
            return Progress(tuple(pieces), self._tokens, "tool_calls")
        if token.finish:
            shown, stopped = self._stops.push(self._text.finish())
            pieces += self._read(shown if stopped else shown + self._stops.finish())
            return self._end(pieces, FinishReason.STOP if stopped else token.finish)
        return Progress(tuple(pieces), self._tokens) if pieces else None

    def _read(self, text: str) -> list[Piece]:
        if not text:
            return []
        if self._tools is None:
            return [text]
        pieces = self._tools.push(text)
        for index, piece in enumerate(pieces):
            if isinstance(piece, FoundCall):
                self._called = True
                if not self._reading.parallel_tool_calls:
                    return pieces[: index + 1]
        return pieces

    def _end(self, pieces: list[Piece], reason: FinishReason) -> Progress:
        rest = self._tools.finish() if self._tools else ""
        if self._called and not rest.strip():
            rest = ""  # layout after the last call
        return Progress(
            (*pieces, rest) if rest else tuple(pieces),
            self._tokens,
            "tool_calls" if self._called and reason is FinishReason.STOP else reason.value,
        )
