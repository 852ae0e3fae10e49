"""Tasks that run as long as a process: one that fails ends it, since half a process is worse than a restarted one."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

log = logging.getLogger(__name__)

FAILED = signal.SIGUSR1  # how a part of a process tells `baton.serve` that the whole must end


def fail_process() -> None:
    """End this process as failed: requests under way finish, then it exits with code 1, to be started again."""
    signal.raise_signal(FAILED)


@asynccontextmanager
async def running(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` beside the body of the block, and cancel it at the block's end."""
    tasks = [asyncio.create_task(each) for each in work]
    for task in tasks:
        task.add_done_callback(_end_process_on_failure)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _end_process_on_failure(task: "asyncio.Task[None]") -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.critical("a part of this process failed; it stops, to be started again", exc_info=error)
        fail_process()
