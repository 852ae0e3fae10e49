"""The policies: pure, fair, random where nothing decides."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from controller.dispatch import POLICIES, Policy, least_load, lottery, shortest_queue


@dataclass
class Machine:
    """A candidate, and how many requests it got."""

    slots: int = 4
    speed: float = 1.0
    load: int = 0
    got: int = 0


def spread(policy: Policy[Machine], machines: Sequence[Machine], requests: int, under_way: int, seed: int = 1) -> None:
    """Dispatch equal requests, of which the oldest ends when more than `under_way` are."""
    rng, running = random.Random(seed), list[Machine]()
    for _ in range(requests):
        machine = policy(machines, rng)
        machine.load += 1
        machine.got += 1
        running.append(machine)
        if len(running) > under_way:
            running.pop(0).load -= 1


@pytest.mark.parametrize("policy", [shortest_queue, least_load])
@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("under_way", [1, 7, 64])
def test_equal_workers_share_equally(policy: Policy[Machine], count: int, under_way: int) -> None:
    """With requests under way counted, every worker gets its share within 10 %."""
    machines = [Machine() for _ in range(count)]
    spread(policy, machines, 8000, under_way)
    assert all(abs(machine.got * count / 8000 - 1) < 0.1 for machine in machines), [m.got for m in machines]


def test_lottery_shares_by_speed() -> None:
    """Lottery draws each worker in proportion to its speed, whatever its load."""
    machines = [Machine(speed=1, load=9), Machine(speed=2), Machine(speed=5)]
    spread(lottery, machines, 16_000, 0)
    for machine in machines:
        assert abs(machine.got / (2000 * machine.speed) - 1) < 0.1


@pytest.mark.parametrize("policy", [shortest_queue, least_load])
def test_speed_counts(policy: Policy[Machine]) -> None:
    """A worker three times as fast carries three times as much."""
    slow, fast = Machine(speed=1), Machine(speed=3)
    spread(policy, [slow, fast], 8000, 40)
    assert fast.got / slow.got == pytest.approx(3, rel=0.1)


def test_slots_count() -> None:
    """Least load fills workers in proportion to their slots."""
    small, large = Machine(slots=2), Machine(slots=8)
    spread(least_load, [small, large], 8000, 40)
    assert large.got / small.got == pytest.approx(4, rel=0.1)


def test_the_first_request_goes_where_it_fills_least() -> None:
    """Among idle workers the one with more capacity is taken."""
    small, large = Machine(slots=1), Machine(slots=8)
    assert all(least_load([small, large], random.Random(seed)) is large for seed in range(20))


@pytest.mark.parametrize("name", POLICIES)
def test_ties_are_random(name: str) -> None:
    """Idle equal workers are not taken in their order: many dispatchers must not choose the same one."""
    machines = [Machine() for _ in range(4)]
    chosen = Counter(id(POLICIES[name](machines, random.Random(seed))) for seed in range(2000))
    assert len(chosen) == 4
    assert all(abs(count / 500 - 1) < 0.25 for count in chosen.values())


@pytest.mark.parametrize("name", POLICIES)
def test_one_candidate_is_taken(name: str) -> None:
    """A single worker gets the request, even an extreme one."""
    for machine in (Machine(), Machine(slots=1, speed=5e-324, load=1_000_000), Machine(speed=1e6)):
        assert POLICIES[name]([machine], random.Random(1)) is machine


@pytest.mark.parametrize("name", POLICIES)
def test_extreme_numbers_do_not_break_the_choice(name: str) -> None:
    """The least speed, the most slots and the highest load are still compared."""
    extremes = [Machine(speed=5e-324, load=1_000_000), Machine(slots=1_000_000, speed=1e6), Machine()]
    for seed in range(50):
        assert POLICIES[name](extremes, random.Random(seed)) in extremes
