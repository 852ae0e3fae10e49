"""An engine that can compute no more, and one that is stopped before it could."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.workers.engines.hf.driving import PATIENCE, generate, greedy
from workers.engines.base import EngineError
from workers.engines.hf.engine import HfEngine
from workers.engines.hf.forward import Chunk
from workers.engines.hf.packed import PackedForward
from workers.engines.hf.runner import DEADLY_FAILURES
from workers.engines.hf.settings import HfSettings


def lost(_: PackedForward, __: Sequence[Chunk]) -> torch.Tensor:
    raise RuntimeError("the device is lost")


def fault(_: PackedForward) -> None:
    raise RuntimeError("not even this")


async def started(folder: Path, dead: threading.Event) -> HfEngine:
    engine = HfEngine(HfSettings(str(folder), device="cpu", dtype="float32", slots=4), dead.set)
    await asyncio.wait_for(engine.start(), PATIENCE)
    return engine


async def test_a_lost_device_ends_the_engine(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some steps that brought nothing but failures the engine says that it is dead, and takes nothing more."""
    dead = threading.Event()
    engine = await started(llama, dead)
    monkeypatch.setattr(PackedForward, "forward", lost)
    for _ in range(DEADLY_FAILURES):
        assert not dead.is_set()
        with pytest.raises(EngineError):
            await asyncio.wait_for(generate(engine, [1, 2], greedy(3)), PATIENCE)
    assert await asyncio.to_thread(dead.wait, PATIENCE)
    with pytest.raises(EngineError):
        await asyncio.wait_for(generate(engine, [1, 2], greedy(3)), PATIENCE)
    await engine.stop()


async def test_a_thread_that_ends_unasked_is_told_of(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where even clearing up fails nobody waits for ever: the generations fail, and the engine is dead."""
    dead = threading.Event()
    engine = await started(llama, dead)
    monkeypatch.setattr("workers.engines.hf.batch.Batch.tokens", lambda _: 1 / 0)
    monkeypatch.setattr(PackedForward, "clear", fault)
    with pytest.raises(EngineError):
        await asyncio.wait_for(generate(engine, [1, 2], greedy(3)), PATIENCE)
    assert await asyncio.to_thread(dead.wait, PATIENCE)
    await engine.stop()


async def test_stopping_does_not_wait_for_a_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that is stopped while it loads ends at once; the load goes on by itself, for nobody."""
    loading, release = threading.Event(), threading.Event()

    def load(_: HfSettings) -> None:
        loading.set()
        release.wait(PATIENCE)

    monkeypatch.setattr("workers.engines.hf.engine.load", load)
    engine = HfEngine(HfSettings("somewhere"))
    starting = asyncio.create_task(engine.start())
    assert await asyncio.to_thread(loading.wait, PATIENCE)
    starting.cancel()
    await asyncio.wait_for(asyncio.gather(starting, return_exceptions=True), PATIENCE)
    await asyncio.wait_for(engine.stop(), PATIENCE)
    assert starting.cancelled()
    release.set()
