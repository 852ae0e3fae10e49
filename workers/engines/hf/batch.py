"""Who computes what in the next step. Pure: no clock, no tensors."""

from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import TypeAlias

from workers.engines.hf.forward import Chunk
from workers.engines.hf.sequence import Sequence

# Tokens left of each prompt, the oldest first → tokens that each may compute in this step.
Shares: TypeAlias = Callable[[Items[int]], list[int]]


@dataclass(frozen=True, slots=True)
class Work:
    """A sequence's part of a step."""

    sequence: Sequence
    chunk: Chunk


class Batch:
    """The sequences in rows 0, 1, 2 … and those that wait, in the order of their arrival."""

    def __init__(self, slots: int, shares: Shares) -> None:
        self.rows: list[Sequence] = []
        self.waiting: deque[Sequence] = deque()
        self._slots, self._shares = slots, shares
        self._prompts: list[Sequence] = []  # in rows, prompt not yet computed; the oldest first

    def plan(self) -> list[Work]:
        """The newest token of each row, and pieces of prompts; a waiting sequence comes in with its first piece."""
        newest = [(sequence, 1) for sequence in self.rows if sequence.left == 1]
        self._prompts = [sequence for sequence in self._prompts if sequence.left > 1]
        free = self._slots - len(self.rows)
        candidates = self._prompts + [self.waiting[i] for i in range(min(free, len(self.waiting)))]
        shares = self._shares([sequence.left for sequence in candidates]) if candidates else []
        pieces = [(sequence, share) for sequence, share in zip(candidates, shares, strict=True) if share]
        self._admit([sequence for sequence, _ in pieces if sequence not in self._prompts])
        places = {id(sequence): row for row, sequence in enumerate(self.rows)}
        return [work(sequence, places[id(sequence)], count) for sequence, count in newest + pieces]

    def remove(self, sequence: Sequence) -> tuple[int, int] | None:
        """Take a sequence out. Returns its row, and the last row, whose sequence moves there; None if it had none."""
        if sequence in self.waiting:
            self.waiting.remove(sequence)
        if sequence not in self.rows:
            return None
        if sequence in self._prompts:
            self._prompts.remove(sequence)
        row, last = self.rows.index(sequence), len(self.rows) - 1
        self.rows[row] = self.rows[last]
        self.rows.pop()
        return row, last

    def clear(self) -> None:
        """Forget all sequences."""
        self.rows.clear()
        self.waiting.clear()
        self._prompts.clear()

    @property
    def busy(self) -> bool:
        """Whether there is anything to compute."""
        return bool(self.rows or self.waiting)

    def tokens(self) -> int:
        """Tokens whose keys and values are held."""
        return sum(sequence.done for sequence in self.rows)

    def _admit(self, sequences: Items[Sequence]) -> None:
        for sequence in sequences:
            self.waiting.remove(sequence)
            self.rows.append(sequence)
            self._prompts.append(sequence)


def work(sequence: Sequence, row: int, count: int) -> Work:
    """The next `count` tokens of a sequence."""
    end = sequence.done + count
    tokens = sequence.tokens[sequence.done : end]
    return Work(sequence, Chunk(row, sequence.done, tokens, wanted=end == len(sequence.tokens)))


def split_budget(budget: int) -> Shares:
    """Half of the budget to the oldest prompt, so that it cannot starve; the rest to the shortest ones first."""

    def shares(left: Items[int]) -> list[int]:
        given = [0] * len(left)
        rest = budget
        given[0] = min(left[0], budget if len(left) == 1 else -(-budget // 2))
        rest -= given[0]
        for i in sorted(range(1, len(left)), key=left.__getitem__):
            given[i] = min(left[i], rest)
            rest -= given[i]
        given[0] += min(left[0] - given[0], rest)
        return given

    return shares


def one_whole(left: Items[int]) -> list[int]:
    """The oldest prompt in one piece: for models that cannot continue one."""
    return [left[0], *[0] * (len(left) - 1)]
