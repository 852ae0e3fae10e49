"""FastChat's frames: JSON objects that end with NUL and hold the whole text so far. Pure."""

from collections.abc import Iterable, Mapping

import msgspec

from baton.errors import (
    BatonError,
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    NoWorkerError,
    OverloadedError,
)
from workers.generation import Entry
from workers.responses import Usage, encode, usage

END = b"\0"
HEADERS: Mapping[str, str] = {"content-type": "application/octet-stream", "cache-control": "no-cache"}

# FastChat's error codes; the first class that fits.
CODES: tuple[tuple[type[BatonError], int], ...] = (
    (ContextLengthError, 40303),
    (ModelNotFoundError, 40301),
    (InvalidRequestError, 40001),
    (OverloadedError, 42903),
    (NoWorkerError, 42903),
    (BatonError, 50001),
)


class Frame(msgspec.Struct, frozen=True):
    text: str
    error_code: int
    usage: Usage
    finish_reason: str | None
    logprobs: None = None


class ErrorFrame(msgspec.Struct, frozen=True):
    text: str
    error_code: int


def error_frame(error: BatonError) -> bytes:
    """The JSON of a failure, without NUL."""
    code = next(code for kind, code in CODES if isinstance(error, kind))
    return encode(ErrorFrame(error.message, code))


class Frames:
    """The frames of one answer. With echo the prompt's text comes first."""

    def __init__(self, echoed: str, prompt_tokens: int) -> None:
        self.headers = HEADERS
        self._text = echoed
        self._prompt_tokens = prompt_tokens
        self._tokens = 0
        self._finish: str | None = None

    def add(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._text += "".join(map(str, entry.progress.pieces))
            self._tokens = entry.progress.tokens
            self._finish = entry.progress.finish

    def events(self, entries: Iterable[Entry]) -> bytes:
        """One frame for a batch; the reason comes in a frame of its own."""
        self.add(entries)
        return self._frame(None) + END

    def end(self) -> bytes:
        return self.last() + END

    def failed(self, error: BatonError, *, started: bool) -> bytes:  # noqa: ARG002 - a frame either way
        return error_frame(error) + END

    def last(self) -> bytes:
        """The JSON of the last frame: all text, and why it ended."""
        return self._frame(self._finish)

    def _frame(self, finish: str | None) -> bytes:
        return encode(Frame(self._text, 0, usage(self._prompt_tokens, self._tokens), finish))
