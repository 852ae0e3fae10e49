"""Two things at once, of which the first to end stops the other."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LostError(Exception):
    """The other one ended first."""


async def race(main: Coroutine[Any, Any, T], other: Coroutine[Any, Any, object]) -> T:
    """The result of `main`. Raises LostError, with `main` cancelled and over, when `other` ends before it."""
    task, rival = asyncio.ensure_future(main), asyncio.ensure_future(other)
    try:
        await asyncio.wait((task, rival), return_when=asyncio.FIRST_COMPLETED)
    finally:
        won = task.done()
        task.cancel()
        rival.cancel()
        await asyncio.gather(task, rival, return_exceptions=True)
    if not won:
        raise LostError from (rival.exception() if not rival.cancelled() else None)
    return task.result()
