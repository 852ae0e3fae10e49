"""One forward pass of the packed path: its tokens, their places, and the masks that all layers share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch

from workers.engines.hf.forward import Chunk
from workers.engines.hf.kv import KvCache

Calls: TypeAlias = list[tuple[int, dict[str, object]]]  # (layer, further arguments) of each call of the attention


@dataclass(frozen=True, slots=True)
class Span:
    """A chunk of several tokens within the packed tokens."""

    row: int
    start: int  # position of its first token
    first: int  # index of its first token among the packed ones
    count: int

    @property
    def end(self) -> int:
        return self.start + self.count


class Step:
    """Chunks packed into one row of tokens: those of one token first, since they share one batched attention."""

    def __init__(self, chunks: Sequence[Chunk], kv: KvCache, device: torch.device) -> None:
        self.kv = kv
        self.calls: Calls = []
        order = sorted(range(len(chunks)), key=lambda i: (len(chunks[i].tokens) > 1, chunks[i].row))
        packed = [chunks[i] for i in order]
        single = [chunk for chunk in packed if len(chunk.tokens) == 1]
        self.singles = len(single)
        self.rows = max((chunk.row for chunk in single), default=-1) + 1
        self.dense = self.singles == self.rows  # the single tokens belong to the rows 0, 1, 2 …
        self.spans = spans(packed[self.singles :], self.singles)
        self._last = last_indices(packed, order)
        self._wanted = [self._last[i] for i, chunk in enumerate(chunks) if chunk.wanted]
        self._device = device
        self._places = places(packed).to(device)
        self._newest = newest(single, self.rows)
        self._cache: dict[object, torch.Tensor] = {}

    @property
    def ids(self) -> torch.Tensor:
        return self._places[0:1]

    @property
    def positions(self) -> torch.Tensor:
        return self._places[1:2]

    def wanted(self) -> torch.Tensor:
        """Indices of the packed tokens whose logits are needed; at least one, for models cannot compute none."""
        return torch.tensor(self._wanted or [0], dtype=torch.long, device=self._device)

    @property
    def wanted_count(self) -> int:
        return len(self._wanted)

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Store new keys and values [1, heads, n, size]; the layer's whole tensors."""
        all_keys, all_values = self.kv.layer(layer, keys, values)
        where = self.on(keys.device, "places", lambda: self._places)
        all_keys[where[2], :, where[1]] = keys[0].transpose(0, 1)
        all_values[where[2], :, where[1]] = values[0].transpose(0, 1)
        return all_keys, all_values

    def single_rows(self, device: torch.device) -> torch.Tensor:
        """Row of each single token."""
        return self.on(device, "rows", lambda: self._places[2, : self.singles])

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
    """Where chunks lie that follow each other from the packed index `first` on."""
    found = []
    for chunk in chunks:
        found.append(Span(chunk.row, chunk.start, first, len(chunk.tokens)))
        first += len(chunk.tokens)
    return found


def last_indices(packed: Sequence[Chunk], order: Sequence[int]) -> dict[int, int]:
    """For each chunk by its number before packing, the packed index of its last token."""
    found, index = {}, -1
    for chunk, number in zip(packed, order, strict=True):
        index += len(chunk.tokens)
        found[number] = index
    return found


def places(packed: Sequence[Chunk]) -> torch.Tensor:
    """Ids, positions and rows of the packed tokens: [3, n], one tensor so that one copy takes it to a GPU."""
    ids = [token for chunk in packed for token in chunk.tokens]
    positions = [position for chunk in packed for position in range(chunk.start, chunk.end)]
    rows = [chunk.row for chunk in packed for _ in chunk.tokens]
    return torch.tensor([ids, positions, rows], dtype=torch.long)


def newest(single: Sequence[Chunk], rows: int) -> torch.Tensor:
    """Position of the single token of each row [rows]; 0 for a row between them that has none."""
    found = [0] * rows
    for chunk in single:
        found[chunk.row] = chunk.start
    return torch.tensor(found, dtype=torch.long)


def single_bias(newest: torch.Tensor, tokens: int, window: int | None, dtype: torch.dtype) -> torch.Tensor:
    """See Step.single_bias."""
    at, column = newest[:, None], torch.arange(tokens)[None]
    hidden = column > at
    if window is not None:
        hidden |= column <= at - window
    return torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, float("-inf"))[:, None, None]


def span_mask(span: Span, window: int | None) -> torch.Tensor:
    """See Step.span_mask."""
    at, column = torch.arange(span.start, span.end)[:, None], torch.arange(span.end)[None]
    seen = column <= at
    return seen if window is None else seen & (column > at - window)
