"""What the compute thread needs of a model: one step over a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True, slots=True)
class Chunk:
    """The tokens of one row that a step computes: its newest one, or a piece of its prompt."""

    row: int
    start: int  # position of the first token; all before it were computed by earlier steps
    tokens: list[int]
    wanted: bool  # whether logits after the last token are needed

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)


class Forward(Protocol):
    """A model with the memory of its rows. Used from one thread."""

    def forward(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """Logits [wanted chunks, vocabulary] in the order of the chunks.

        A row's chunk at position 0 forgets what the row held. A step that failed can be repeated.
        """

    def remove(self, row: int, last: int) -> None:
        """Forget `row`; the row `last` takes its place and number."""

    def clear(self) -> None:
        """Forget all rows and give their memory back."""
