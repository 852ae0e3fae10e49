"""Which worker takes a request: pure policies, chosen by name from a table. Ties are broken at random."""

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar


class Candidate(Protocol):
    """What a policy may look at."""

    @property
    def load(self) -> int: ...  # requests running or waiting

    @property
    def slots(self) -> int: ...  # ≥ 1; requests that run at the same time

    @property
    def speed(self) -> float: ...  # > 0; relative to a worker of speed 1


C = TypeVar("C", bound=Candidate)
Policy: TypeAlias = Callable[[Sequence[C], random.Random], C]


def lottery(candidates: Sequence[C], rng: random.Random) -> C:
    """A random worker, with a chance in proportion to its speed (FastChat's policy of that name)."""
    return rng.choices(candidates, [candidate.speed for candidate in candidates])[0]


def shortest_queue(candidates: Sequence[C], rng: random.Random) -> C:
    """The fewest requests per unit of speed (FastChat's policy, on the true counts of this moment)."""
    return _least(candidates, lambda candidate: candidate.load / candidate.speed, rng)


def least_load(candidates: Sequence[C], rng: random.Random) -> C:
    """The smallest share of its capacity in use once it has this request: (load + 1) / (slots × speed)."""
    return _least(candidates, lambda candidate: (candidate.load + 1) / (candidate.slots * candidate.speed), rng)


POLICIES: dict[str, Policy[Any]] = {"lottery": lottery, "shortest_queue": shortest_queue, "least_load": least_load}


def _least(candidates: Sequence[C], cost: Callable[[C], float], rng: random.Random) -> C:
    if len(candidates) == 1:
        return candidates[0]
    costs = [cost(candidate) for candidate in candidates]
    lowest = min(costs)
    return rng.choice([candidate for candidate, each in zip(candidates, costs, strict=True) if each == lowest])
