"""Models that the batched path cannot serve are served by the slower one, correctly."""

import asyncio
import logging
import random
from pathlib import Path

import pytest
import torch
from pytest import LogCaptureFixture

from tests.workers.engines.hf.driving import crowd, greedy, ids, random_prompt, running, serve_together, stock
from tests.workers.engines.hf.tiny import make_model
from workers.engines.base import EngineError
from workers.engines.hf.fallback import FallbackForward
from workers.engines.hf.forward import Chunk


@pytest.mark.parametrize("family", ["bloom", "mamba2", "qwen3_next"])
async def test_other_models_take_the_slower_path(family: str, tmp_path: Path, caplog: LogCaptureFixture) -> None:
    """Each request of a crowd gets the tokens of stock `generate`; notes and log say which path it is and why."""
    caplog.set_level(logging.INFO)
    make_model(tmp_path, family)
    requests = crowd(random.Random(1), 6, longest=20)
    async with running(tmp_path) as engine:
        path = engine.notes["path"]
        assert path.startswith("one sequence at a time: it")
        assert path in caplog.text
        found = await serve_together(engine, requests)
    expected = stock(tmp_path, [request.prompt for request in requests], 14)
    for request, got, full in zip(requests, found, expected, strict=True):
        assert got == full[: request.leave_after or request.sampling.max_tokens]


async def test_seeded_sampling_is_the_same_on_both_paths(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower path draws the same tokens for a seed as the batched one."""
    requests = crowd(random.Random(3), 5, longest=20, temperature=0.9, seed=5)
    async with running(llama) as engine:
        batched = await serve_together(engine, requests)
    monkeypatch.setattr("workers.engines.hf.gate.objection", lambda *_: "a test wants it so")
    async with running(llama) as engine:
        assert engine.notes["path"] == "one sequence at a time: a test wants it so"
        slower = [await ids(engine, request.prompt, request.sampling) for request in requests]
    assert batched == [tokens[: r.leave_after or len(tokens)] for tokens, r in zip(slower, requests, strict=True)]


async def test_a_bad_row_fails_alone(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a step that failed for one row, the others go on as if nothing had been: none has its turn twice."""
    monkeypatch.setattr("workers.engines.hf.gate.objection", lambda *_: "a test wants it so")
    rng = random.Random(8)
    good = [random_prompt(rng, 6) for _ in range(3)]
    async with running(llama) as engine:
        alone = [await ids(engine, prompt, greedy(12)) for prompt in good]
        plain = FallbackForward._compute

        def faulty(self: FallbackForward, chunk: Chunk) -> torch.Tensor:
            if chunk.end == 25:
                raise RuntimeError("a fault")
            return plain(self, chunk)

        monkeypatch.setattr(FallbackForward, "_compute", faulty)
        tasks = [ids(engine, prompt, greedy(12)) for prompt in (*good, random_prompt(rng, 20))]
        *found, failed = await asyncio.gather(*tasks, return_exceptions=True)
    assert found == alone
    assert isinstance(failed, EngineError)
