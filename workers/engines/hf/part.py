"""The tokens of a step whose rows lie on one shelf: their places, and the masks that all layers share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from workers.engines.hf.forward import Chunk
from workers.engines.hf.shelf import Shelf


@dataclass(frozen=True, slots=True)
class Span:
    """A chunk of several tokens within a part."""

    row: int
    start: int  # position of its first token
    first: int  # index of its first token within the part
    count: int

    @property
    def end(self) -> int:
        return self.start + self.count


class Part:
    """Chunks packed into one line of tokens: those of one token first, since they share one batched attention."""

    def __init__(self, chunks: Sequence[Chunk], shelf: Shelf, first: int) -> None:
        """`first`: index of the part's first token within the step."""
        self.shelf = shelf
        self.chunks = sorted(chunks, key=lambda chunk: (len(chunk.tokens) > 1, chunk.row))
        single = [chunk for chunk in self.chunks if len(chunk.tokens) == 1]
        self.singles = len(single)
        self.rows = max((chunk.row for chunk in single), default=-1) + 1
        self.dense = self.singles == self.rows  # the single tokens belong to the rows 0, 1, 2 …
        self.spans = spans(self.chunks[self.singles :], self.singles)
        self.slice = slice(first, first + sum(len(chunk.tokens) for chunk in chunks))
        self._places = places(self.chunks)
        self._newest = newest(single, self.rows)
        self._cache: dict[object, torch.Tensor] = {}

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Store the part's new keys and values [1, heads, n, size]; the shelf's whole tensors."""
        all_keys, all_values = self.shelf.layer(layer, keys, values)
        rows, positions = self.on(keys.device, "places", lambda: self._places)
        all_keys[rows, :, positions] = keys[0].transpose(0, 1)
        all_values[rows, :, positions] = values[0].transpose(0, 1)
        return all_keys, all_values

    def single_rows(self, device: torch.device) -> torch.Tensor:
        """Row of each single token."""
        return self.on(device, "rows", lambda: self._places[0, : self.singles])

    def single_bias(self, tokens: int, window: int | None, like: torch.Tensor) -> torch.Tensor:
        """0 where a row's newest token may look, -inf elsewhere: [rows, 1, 1, tokens]."""
        make = partial(single_bias, self._newest, tokens, window, like.dtype)
        return self.on(like.device, ("bias", tokens, window, like.dtype), make)

    def span_mask(self, span: Span, window: int | None, device: torch.device) -> torch.Tensor:
        """True where a span's tokens may look: [count, end]."""
        return self.on(device, (span, window), partial(span_mask, span, window))

    def on(self, device: torch.device, key: object, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The tensor of this name on a device, made once per step: the layers share it."""
        found = self._cache.get((device, key))
        if found is None:
            found = self._cache[device, key] = make().to(device)
        return found


def spans(chunks: Sequence[Chunk], first: int) -> list[Span]:
    """Where chunks lie that follow each other from the index `first` on."""
    found = []
    for chunk in chunks:
        found.append(Span(chunk.row, chunk.start, first, len(chunk.tokens)))
        first += len(chunk.tokens)
    return found


def places(chunks: Sequence[Chunk]) -> torch.Tensor:
    """Rows and positions of the tokens: [2, n]."""
    rows = [chunk.row for chunk in chunks for _ in chunk.tokens]
    positions = [position for chunk in chunks for position in range(chunk.start, chunk.end)]
    return torch.tensor([rows, positions], dtype=torch.long)


def newest(single: Sequence[Chunk], rows: int) -> torch.Tensor:
    """Position of the single token of each row [rows]; 0 for a row between them that has none."""
    found = [0] * rows
    for chunk in single:
        found[chunk.row] = chunk.start
    return torch.tensor(found, dtype=torch.long)


def single_bias(newest: torch.Tensor, tokens: int, window: int | None, dtype: torch.dtype) -> torch.Tensor:
    """See Part.single_bias."""
    at, column = newest[:, None], torch.arange(tokens)[None]
    hidden = column > at
    if window is not None:
        hidden |= column <= at - window
    return torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, float("-inf"))[:, None, None]


def span_mask(span: Span, window: int | None) -> torch.Tensor:
    """See Part.span_mask."""
    at, column = torch.arange(span.start, span.end)[:, None], torch.arange(span.end)[None]
    seen = column <= at
    return seen if window is None else seen & (column > at - window)
