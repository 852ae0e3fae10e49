import asyncio

import pytest

from baton.errors import NoWorkerError, OverloadedError
from workers.admission import Admission, Load, Ticket
from workers.slots import Slots


def make(size: int, waiting: int) -> Admission:
    return Admission(Slots[Ticket](size, waiting), lambda: None)


async def test_everything_is_given_back() -> None:
    """Whatever happens inside, the block's end frees slots and places."""
    admission = make(1, 2)
    with pytest.raises(ZeroDivisionError), admission.admit(3, direct=True):
        assert admission.load() == Load(running=1, waiting=2, direct=3)
        raise ZeroDivisionError
    assert admission.load() == Load(0, 0, 0)


async def test_a_turn_frees_its_slot_early() -> None:
    """A choice that is done makes room for the next while its request goes on."""
    admission = make(1, 2)
    with admission.admit(2, direct=False) as (first, second):
        async with admission.turn(first):
            assert not second.settled.is_set()
        async with admission.turn(second):
            assert admission.load() == Load(running=1, waiting=0, direct=0)


async def test_full_is_refused_without_a_trace() -> None:
    """A request that finds no room leaves nothing behind."""
    admission = make(1, 0)
    with admission.admit(1, direct=False):
        with pytest.raises(OverloadedError), admission.admit(1, direct=True):
            pass
        assert admission.load() == Load(1, 0, 0)


async def test_draining_sends_away_those_who_only_wait() -> None:
    """Requests of which nothing runs yet are refused; the others keep what they have."""
    admission = make(1, 2)
    with admission.admit(2, direct=False) as (running, own), admission.admit(1, direct=False) as (other,):
        admission.refuse_waiting()
        with pytest.raises(NoWorkerError):
            async with admission.turn(other):
                pass
        assert admission.load() == Load(running=1, waiting=1, direct=0)
        async with admission.turn(running):
            pass
        async with asyncio.timeout(5), admission.turn(own):
            pass
