"""Who computes what in a step."""

from workers.engines.base import Sampling
from workers.engines.hf.batch import Batch, one_whole, split_budget
from workers.engines.hf.sequence import Sequence


def waiting(size: int) -> Sequence:
    """A sequence whose prompt is 0, 1, 2 …"""
    return Sequence(list(range(size)), Sampling(max_tokens=9), 0, frozenset(), 1000, lambda _: None)


def step(batch: Batch) -> list[tuple[int, int, int, bool]]:
    """Plan a step and pretend that it was computed: (row, start, end, wanted) of each part."""
    works = batch.plan()
    for work in works:
        assert work.chunk.tokens == work.sequence.tokens[work.chunk.start : work.chunk.end]
        assert batch.rows[work.chunk.row] is work.sequence
        work.sequence.done = work.chunk.end
        if work.chunk.wanted:
            work.sequence.add(7)
    return [(w.chunk.row, w.chunk.start, w.chunk.end, w.chunk.wanted) for w in works]


def test_a_long_prompt_comes_in_pieces_while_others_go_on() -> None:
    """Each step holds one new token of every running row and at most the budget of prompt tokens."""
    batch = Batch(4, split_budget(10))
    batch.waiting.append(waiting(3))
    assert step(batch) == [(0, 0, 3, True)]
    batch.waiting.append(waiting(25))
    assert step(batch) == [(0, 3, 4, True), (1, 0, 10, False)]
    assert step(batch) == [(0, 4, 5, True), (1, 10, 20, False)]
    assert step(batch) == [(0, 5, 6, True), (1, 20, 25, True)]
    assert step(batch) == [(0, 6, 7, True), (1, 25, 26, True)]


def test_a_short_prompt_need_not_wait_for_a_long_one() -> None:
    """Newcomers share the budget with a long prompt that came first."""
    batch = Batch(4, split_budget(10))
    batch.waiting.extend([waiting(100), waiting(4)])
    assert step(batch) == [(0, 0, 6, False), (1, 0, 4, True)]


def test_the_oldest_prompt_always_advances() -> None:
    """However many short prompts come, the oldest gets half of each step."""
    assert split_budget(10)([100, 9, 9, 9]) == [5, 5, 0, 0]
    assert split_budget(10)([3, 100, 2, 4]) == [3, 1, 2, 4]
    assert split_budget(1)([5, 5]) == [1, 0]
    assert split_budget(10)([100]) == [10]


def test_sequences_beyond_the_slots_wait_in_order() -> None:
    """A free row goes to the one that waited longest."""
    batch = Batch(2, split_budget(100))
    sequences = [waiting(size) for size in (5, 6, 7, 2)]
    batch.waiting.extend(sequences)
    step(batch)
    assert batch.rows == [sequences[1], sequences[0]] or batch.rows == [sequences[0], sequences[1]]
    assert list(batch.waiting) == sequences[2:]
    batch.remove(sequences[0])
    step(batch)
    assert set(map(id, batch.rows)) == {id(sequences[1]), id(sequences[2])}


def test_the_last_row_moves_into_a_hole() -> None:
    """Rows stay 0, 1, 2 …; whoever keeps things by row learns of the move."""
    batch = Batch(3, split_budget(100))
    first, second, third = sequences = [waiting(2), waiting(2), waiting(2)]
    batch.waiting.extend(sequences)
    step(batch)
    assert batch.remove(first) == (0, 2)
    assert batch.rows == [third, second]
    assert batch.remove(second) == (1, 1)
    assert batch.remove(second) is None
    assert batch.tokens() == third.done


def test_what_waits_can_leave() -> None:
    """A waiting sequence leaves the queue without touching a row."""
    batch = Batch(1, split_budget(100))
    sequences = [waiting(2), waiting(2)]
    batch.waiting.extend(sequences)
    step(batch)
    assert batch.remove(sequences[1]) is None
    assert not batch.waiting


def test_whole_prompts_come_one_at_a_time() -> None:
    """A model that cannot continue a prompt gets each in one piece."""
    batch = Batch(3, one_whole)
    batch.waiting.extend([waiting(50), waiting(3)])
    assert step(batch) == [(0, 0, 50, True)]
    assert step(batch) == [(0, 50, 51, True), (1, 0, 3, True)]
