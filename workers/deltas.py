"""Progress of choices → the chunks of a stream. Pure, but for the ids of tool calls, which come from outside."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from msgspec import UNSET

from baton import sse
from baton.errors import BatonError
from workers.generation import Entry
from workers.responses import Chunk, Delta, DeltaChoice, TextChoice, Usage, encode, tool_call, usage
from workers.tools import Piece

HEADERS: Mapping[str, str] = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


@dataclass(slots=True)
class Stream:
    """OpenAI's shape of a stream: what the chunks of one stream have in common, and the counts that its end needs."""

    id: str
    created: int
    model: str
    chat: bool
    include_usage: bool
    prompt_tokens: int
    call_id: Callable[[], str]
    tokens: dict[int, int] = field(default_factory=dict)  # of each choice that began
    calls: dict[int, int] = field(default_factory=dict)  # tool calls of each choice

    @property
    def headers(self) -> Mapping[str, str]:
        return HEADERS

    def events(self, entries: Iterable[Entry]) -> bytes:
        """The events for a batch of progress: neighbours of one choice become one chunk."""
        parts: list[bytes] = []
        for index, group in groupby(entries, key=lambda entry: entry.index):
            progress = [entry.progress for entry in group]
            parts += self._opening(index)
            self.tokens[index] = progress[-1].tokens
            for piece in _joined(piece for each in progress for piece in each.pieces):
                parts.append(self._piece(index, piece))
            if progress[-1].finish:
                parts.append(self._finish(index, progress[-1].finish))
        return b"".join(parts)

    def end(self) -> bytes:
        """The events after the last choice."""
        if not self.include_usage:
            return sse.DONE
        total = usage(self.prompt_tokens, sum(self.tokens.values()))
        return self._event([], total) + sse.DONE

    def failed(self, error: BatonError, *, started: bool) -> bytes:
        """An error event; before the first event an error is an ordinary HTTP answer."""
        if not started:
            raise error
        return sse.event(error.body()) + sse.DONE

    def _opening(self, index: int) -> list[bytes]:
        if not self.chat or index in self.tokens:
            return []
        return [self._event([DeltaChoice(index, Delta(role="assistant", content=""))])]

    def _piece(self, index: int, piece: Piece) -> bytes:
        if not self.chat:
            return self._event([TextChoice(index, str(piece), None)])
        if isinstance(piece, str):
            return self._event([DeltaChoice(index, Delta(content=piece))])
        place = self.calls.get(index, 0)
        self.calls[index] = place + 1
        return self._event([DeltaChoice(index, Delta(tool_calls=[tool_call(piece, self.call_id(), place)]))])

    def _finish(self, index: int, reason: str) -> bytes:
        if self.chat:
            return self._event([DeltaChoice(index, Delta(), reason)])
        return self._event([TextChoice(index, "", reason)])

    def _event(self, choices: list[DeltaChoice] | list[TextChoice], total: Usage | None = None) -> bytes:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        shown = total if self.include_usage else UNSET
        return sse.event(encode(Chunk(self.id, kind, self.created, self.model, choices, usage=shown)))


def _joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces, with neighbouring texts made one."""
    for is_text, group in groupby(pieces, key=lambda piece: isinstance(piece, str)):
        if is_text:
            yield "".join(piece for piece in group if isinstance(piece, str))
        else:
            yield from group
