"""Keys and values follow their rows, in memory that fits what is held."""

import torch

from workers.engines.hf.forward import Chunk
from workers.engines.hf.shelf import Shelf


def fill(shelf: Shelf, row: int, length: int) -> None:
    """Write keys that tell their row and position."""
    shelf.reserve([Chunk(row, 0, [0] * length, wanted=True)])
    keys, _ = shelf.layer(0, torch.zeros(1, 2, 1, 3), torch.zeros(1, 2, 1, 5))
    keys[row, :, :length] = (100 * row + torch.arange(length, dtype=torch.float32))[None, :, None]


def held(shelf: Shelf) -> torch.Tensor:
    """The keys of the only layer."""
    return shelf.layer(0, torch.zeros(0), torch.zeros(0))[0]


def test_growing_keeps_what_is_there() -> None:
    """More rows and longer ones change no key that was written, and new room is zero."""
    shelf = Shelf(slots=6, context=100, bucket=8)
    fill(shelf, 0, 5)
    assert held(shelf).shape == (1, 2, 8, 3)
    fill(shelf, 1, 20)
    fill(shelf, 4, 90)
    keys = held(shelf)
    assert keys.shape == (6, 2, 96, 3)
    assert keys[0, 0, :5, 0].tolist() == [0, 1, 2, 3, 4]
    assert keys[1, 1, :20, 2].tolist() == list(range(100, 120))
    assert not keys[1, :, 20:].any()


def test_memory_is_bounded_by_slots_and_context() -> None:
    """The largest tensor is slots × context, also where neither is a multiple of a bucket."""
    shelf = Shelf(slots=3, context=50, bucket=64)
    for row in range(3):
        fill(shelf, row, 50)
    assert held(shelf).shape == (3, 2, 50, 3)


def test_removing_moves_the_last_row() -> None:
    """The row that takes a place keeps its keys; the memory shrinks once the long rows have gone."""
    shelf = Shelf(slots=4, context=100, bucket=8)
    for row, length in enumerate((90, 7, 9)):
        fill(shelf, row, length)
    shelf.remove(0, 2)
    assert held(shelf)[0, 0, :9, 0].tolist() == list(range(200, 209))
    shelf.reserve([Chunk(0, 9, [0], wanted=True)])
    assert held(shelf).shape[2] == 16
    assert held(shelf)[0, 0, :9, 0].tolist() == list(range(200, 209))


def test_an_empty_cache_holds_nothing() -> None:
    """When the last row leaves, the memory goes back."""
    shelf = Shelf(slots=4, context=100, bucket=8)
    fill(shelf, 0, 90)
    shelf.remove(0, 0)
    fill(shelf, 0, 3)
    assert held(shelf).shape == (1, 2, 8, 3)
    assert held(shelf)[0, 0, :4, 0].tolist() == [0, 1, 2, 0]
