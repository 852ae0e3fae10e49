"""The keys and values of rows of about the same length, for every layer."""

from collections.abc import Sequence

import torch

from workers.engines.hf.forward import Chunk


class Shelf:
    """Per layer two tensors [rows, heads, tokens, head size], sized to what the rows hold now.

    Attention reads whole tensors, so an unused tail costs time in each step: the token dimension is the longest
    row rounded up to a bucket, and follows it up and down by copying.
    """

    def __init__(self, slots: int, context: int, bucket: int) -> None:
        self._slots, self._context, self._bucket = slots, context, bucket
        self._lengths: dict[int, int] = {}
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._shape = (0, 0)

    def reserve(self, chunks: Sequence[Chunk]) -> None:
        """Make room for what the chunks will write."""
        lengths = self._lengths | {chunk.row: chunk.end for chunk in chunks}
        shape = self._fitting(max(lengths) + 1, max(lengths.values()))
        if shape != self._shape:
            self._resize(shape)
        self._lengths = lengths

    def layer(self, index: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The tensors of one layer; made on first use, in the form of these new keys and values [1, heads, n, size]."""
        if index not in self._layers:
            self._layers[index] = (self._empty(keys), self._empty(values))
        return self._layers[index]

    def take(self, row: int, other: "Shelf", theirs: int) -> None:
        """Copy the row `theirs` of another shelf into `row`, for which there is room."""
        length = other._lengths.get(theirs, 0)
        for index, (keys, values) in other._layers.items():
            for mine, old in zip(self.layer(index, keys, values), (keys, values), strict=True):
                mine[row, :, :length] = old[theirs, :, :length]

    def remove(self, row: int, last: int) -> None:
        """Forget `row` and let `last` take its place."""
        length = self._lengths.pop(last, 0)
        if row != last:
            self._lengths[row] = length
            for pair in self._layers.values():
                for tensor in pair:
                    tensor[row, :, :length] = tensor[last, :, :length]
        if not self._lengths:
            self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._lengths, self._layers, self._shape = {}, {}, (0, 0)

    def _fitting(self, rows: int, tokens: int) -> tuple[int, int]:
        """Rows in powers of two, tokens in buckets; what is there stays unless it is too small or twice too large."""
        room = min(1 << (rows - 1).bit_length(), self._slots)
        length = min(-(-tokens // self._bucket) * self._bucket, self._context)
        if 2 * length > self._shape[1] > length:
            length = self._shape[1]
        return max(room, rows, self._shape[0]), max(length, tokens)

    def _resize(self, shape: tuple[int, int]) -> None:
        """Copy layer by layer, so that only one layer exists twice at any moment."""
        self._shape = (0, 0)  # where memory runs out half-way, the next step must not believe that all layers fit
        for index, (keys, values) in list(self._layers.items()):
            self._layers[index] = (resized(keys, shape), resized(values, shape))
        self._shape = shape

    def _empty(self, like: torch.Tensor) -> torch.Tensor:
        # Zeros, not garbage: attention weighs unused places with 0, and 0 × NaN would be NaN.
        return like.new_zeros(self._shape[0], like.shape[1], self._shape[1], like.shape[3])


def resized(old: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """The tensor with room for (rows, tokens); what both have in common is kept."""
    rows, tokens = shape
    if old.shape[0] == rows and old.shape[2] == tokens:
        return old
    new = old.new_zeros(rows, old.shape[1], tokens, old.shape[3])
    kept_rows, kept_tokens = min(rows, old.shape[0]), min(tokens, old.shape[2])
    new[:kept_rows, :, :kept_tokens] = old[:kept_rows, :, :kept_tokens]
    return new
