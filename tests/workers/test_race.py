import asyncio

import pytest

from workers.race import LostError, race


async def never(ended: asyncio.Event) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.set()


async def give(value: int) -> int:
    return value


async def fail() -> None:
    raise OSError("broken")


async def test_the_first_stops_the_other() -> None:
    """The result of the main one comes with the other one over."""
    ended = asyncio.Event()
    assert await race(give(3), never(ended)) == 3
    assert ended.is_set()


async def test_the_main_one_can_lose() -> None:
    """When the other one ends first, the main one is over, and the reason is known."""
    ended = asyncio.Event()
    with pytest.raises(LostError) as caught:
        await race(never(ended), fail())
    assert ended.is_set()
    assert isinstance(caught.value.__cause__, OSError)


async def test_its_own_failure_is_raised() -> None:
    """A failure of the main one is that of the race."""
    with pytest.raises(OSError, match="broken"):
        await race(fail(), never(asyncio.Event()))


async def test_cancelling_the_race_ends_both() -> None:
    """Nobody runs on when the race is called off."""
    first, second = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(race(never(first), never(second)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert first.is_set()
    assert second.is_set()
