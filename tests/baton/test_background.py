"""Work that runs as long as a process."""

import asyncio
import signal

import pytest

from baton.background import running


async def test_it_ends_with_the_block() -> None:
    """Work beside a block is cancelled at its end."""
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with running(work()):
        await asyncio.sleep(0)  # let it begin
    assert ended.is_set()


async def test_a_failure_ends_the_process(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Work that fails is logged with its cause, and asks the process to stop."""
    told = asyncio.Event()
    monkeypatch.setattr(signal, "raise_signal", lambda _: told.set())

    async def work() -> None:
        raise ValueError("a bug")

    async with running(work()):
        await asyncio.wait_for(told.wait(), 5)
    assert caplog.records[0].exc_info
