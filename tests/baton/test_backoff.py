"""The waits between tries."""

import random

from baton.backoff import FIRST, LONGEST, Backoff


def test_waits_grow_to_a_bound_and_never_vanish() -> None:
    """Each wait is between a half and the whole of its step; steps double up to the longest."""
    backoff, step = Backoff(random.Random(1)), FIRST
    for _ in range(50):
        assert step / 2 <= backoff.next() <= step
        step = min(step * 2, LONGEST)
    assert step == LONGEST


def test_reset_starts_again() -> None:
    """After a success the first wait is short again."""
    backoff = Backoff(random.Random(1))
    for _ in range(10):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= FIRST


def test_peers_do_not_come_back_at_once() -> None:
    """A thousand peers spread over the second half of a step."""
    waits = [Backoff(random.Random(seed)).next() for seed in range(1000)]
    assert max(waits) - min(waits) > 0.45 * FIRST
