"""Rows lie with rows of about their length."""

import torch

from workers.engines.hf.forward import Chunk
from workers.engines.hf.shelves import Shelves, shelf_for


def write(shelves: Shelves, *chunks: Chunk) -> None:
    """What a layer does in a step: store keys, here each position's own number plus 1000 times the first token."""
    for shelf, local in shelves.place(chunks):
        keys, _ = shelf.layer(0, torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))
        for chunk in local:
            positions = torch.arange(chunk.start, chunk.end, dtype=torch.float32)
            keys[chunk.row, 0, chunk.start : chunk.end, 0] = positions + 1000 * chunk.tokens[0]


def read(shelves: Shelves, row: int, length: int) -> list[float]:
    """The keys of a row, found by placing its next token."""
    ((shelf, (chunk,)),) = shelves.place([Chunk(row, length, [0], wanted=True)])
    found: list[float] = shelf.layer(0, torch.zeros(0), torch.zeros(0))[0][chunk.row, 0, :length, 0].tolist()
    return found


def keys(name: int, length: int) -> list[float]:
    """What `write` stored for a row whose tokens are all `name`."""
    return [1000.0 * name + position for position in range(length)]


def test_lengths_have_their_shelves() -> None:
    """Each shelf takes rows up to four times as long as the one before."""
    assert [shelf_for(length) for length in (1, 512, 513, 2048, 2049, 131_072)] == [0, 0, 1, 1, 2, 4]


def test_a_long_row_does_not_pad_the_short_ones() -> None:
    """Memory follows what is held: one long row among short ones costs its own length."""
    shelves = Shelves(slots=8, context=100_000, bucket=64)
    placed = shelves.place([Chunk(row, 0, [row] * 10, wanted=True) for row in range(7)])
    placed += shelves.place([Chunk(7, 0, [7] * 50_000, wanted=True)])
    total = 0
    for shelf, _ in placed:
        total += shelf.layer(0, torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))[0].numel()
    assert total < 60_000


def test_rows_keep_their_keys_when_one_moves_on() -> None:
    """A row that outgrows its shelf takes its keys along, and disturbs none of those it leaves in the same step."""
    shelves = Shelves(slots=8, context=4096, bucket=64)
    write(shelves, *[Chunk(row, 0, [row] * 500, wanted=True) for row in range(4)])
    write(
        shelves, Chunk(3, 500, [3], wanted=True), Chunk(1, 500, [1] * 20, wanted=True), Chunk(0, 500, [0], wanted=True)
    )
    assert read(shelves, 3, 501) == keys(3, 501)
    assert read(shelves, 1, 520) == keys(1, 520)
    assert read(shelves, 0, 501) == keys(0, 501)
    assert read(shelves, 2, 500) == keys(2, 500)


def test_the_last_row_takes_the_number_of_a_removed_one() -> None:
    """Whatever shelves the two lie on, the keys stay with their sequence."""
    shelves = Shelves(slots=8, context=4096, bucket=64)
    write(shelves, Chunk(0, 0, [5] * 10, wanted=True), Chunk(1, 0, [6] * 700, wanted=True))
    write(shelves, Chunk(2, 0, [7] * 20, wanted=True))
    shelves.remove(1, 2)
    assert read(shelves, 1, 20) == keys(7, 20)
    shelves.remove(0, 1)
    assert read(shelves, 0, 20) == keys(7, 20)
    shelves.remove(0, 0)
    write(shelves, Chunk(0, 0, [8] * 3, wanted=True))
    assert read(shelves, 0, 3) == keys(8, 3)
