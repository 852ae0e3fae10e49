"""Rows sorted by length, so that one long row does not make all others long."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from workers.engines.hf.forward import Chunk
from workers.engines.hf.shelf import Shelf

Placed: TypeAlias = tuple[Shelf, list[Chunk]]  # a shelf, and chunks with the rows that they have on it

SHORT = 512  # most tokens of a row on the first shelf
STRIDE = 4  # each further shelf takes rows so many times as long


class Shelves:
    """The keys and values of all rows. A row that outgrows its shelf moves to the next one.

    The rows of a shelf share a tensor and are padded to the longest of them: memory and time stay within `STRIDE`
    times what the tokens need.
    """

    def __init__(self, slots: int, context: int, bucket: int) -> None:
        self._sizes = slots, context, bucket
        self._shelves: dict[int, Shelf] = {}
        self._rows: dict[int, list[int]] = {}  # on each shelf, the row that lies in each place

    def place(self, chunks: Sequence[Chunk]) -> list[Placed]:
        """Make room for what the chunks will write."""
        for chunk in chunks:
            self._put(chunk, shelf_for(chunk.end))
        placed: dict[int, list[Chunk]] = {}
        for chunk in chunks:  # only now: a row that moved to another shelf changed the places on its old one
            number = shelf_for(chunk.end)
            place = self._rows[number].index(chunk.row)
            placed.setdefault(number, []).append(replace(chunk, row=place))
        for number, local in placed.items():
            self._shelves[number].reserve(local)
        return [(self._shelves[number], placed[number]) for number in sorted(placed)]

    def remove(self, row: int, last: int) -> None:
        """Forget `row`; the row `last` takes its number."""
        self._take_out(row)
        found = self._find(last)
        if found is not None:
            number, place = found
            self._rows[number][place] = row

    def clear(self) -> None:
        """Forget everything."""
        self._shelves.clear()
        self._rows.clear()

    def _put(self, chunk: Chunk, number: int) -> None:
        """Let a chunk's row lie on a shelf; it moves there if it lies on another."""
        found = self._find(chunk.row)
        if found is not None and found[0] == number:
            return
        shelf = self._shelves.setdefault(number, Shelf(*self._sizes))
        rows = self._rows.setdefault(number, [])
        if found is not None:
            shelf.reserve([replace(chunk, row=len(rows))])
            shelf.take(len(rows), self._shelves[found[0]], found[1])
            self._take_out(chunk.row)
        rows.append(chunk.row)

    def _take_out(self, row: int) -> None:
        found = self._find(row)
        if found is None:
            return
        number, place = found
        rows = self._rows[number]
        self._shelves[number].remove(place, len(rows) - 1)
        rows[place] = rows[-1]
        rows.pop()

    def _find(self, row: int) -> tuple[int, int] | None:
        """Shelf and place of a row."""
        for number, rows in self._rows.items():
            if row in rows:
                return number, rows.index(row)
        return None


def shelf_for(length: int) -> int:
    """Number of the shelf for rows of this length."""
    number, most = 0, SHORT
    while length > most:
        number, most = number + 1, most * STRIDE
    return number
