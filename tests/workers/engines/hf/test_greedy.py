"""Batching never changes what a model says."""

import random
from pathlib import Path

import pytest

from tests.workers.engines.hf.driving import crowd, greedy, ids, random_prompt, running, serve_together, stock
from tests.workers.engines.hf.tiny import make_model

# Full and sliding attention, grouped heads, capped scores, sinks, learned positions, experts, tied embeddings.
FAMILIES = ["llama", "qwen2", "mistral", "gemma2", "gemma3_text", "gpt_oss", "gpt2", "mixtral", "phi3"]


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_crowd_gets_what_each_would_get_from_transformers_alone(family: str, tmp_path: Path) -> None:
    """Ragged requests that join, wait, leave and are given up get the tokens of stock `generate`, one at a time."""
    make_model(tmp_path, family)
    requests = crowd(random.Random(1), 10, longest=40)
    async with running(tmp_path, prompt_budget=16) as engine:
        assert engine.notes["path"] == "batched"
        found = await serve_together(engine, requests)
    expected = stock(tmp_path, [request.prompt for request in requests], 14)
    for request, got, full in zip(requests, found, expected, strict=True):
        assert got == full[: request.leave_after or request.sampling.max_tokens]


async def test_alone_and_in_a_crowd(llama: Path) -> None:
    """A request gets the same greedy tokens alone as among others, whatever slots and prompt budget are."""
    requests = crowd(random.Random(2), 24, longest=90)
    async with running(llama, slots=1) as engine:
        alone = [await ids(engine, request.prompt, request.sampling) for request in requests]
    for options in ({"slots": 2, "prompt_budget": 7}, {"slots": 16, "prompt_budget": 64}):
        async with running(llama, **options) as engine:
            for request in requests:
                request.next_may_start.clear()
            found = await serve_together(engine, requests)
        assert found == [tokens[: r.leave_after or len(tokens)] for tokens, r in zip(alone, requests, strict=True)]


async def test_rows_that_outgrow_their_shelf(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short and long rows, many of which change shelves while others run, get what they get alone."""
    requests = crowd(random.Random(5), 30, longest=120)
    async with running(llama, slots=1) as engine:
        alone = [await ids(engine, request.prompt, request.sampling) for request in requests]
    monkeypatch.setattr("workers.engines.hf.shelves.SHORT", 6)
    monkeypatch.setattr("workers.engines.hf.shelves.STRIDE", 2)
    async with running(llama, slots=8, prompt_budget=20) as engine:
        found = await serve_together(engine, requests)
    assert found == [tokens[: r.leave_after or len(tokens)] for tokens, r in zip(alone, requests, strict=True)]


async def test_the_models_are_sensitive_to_their_prompt(llama: Path) -> None:
    """The control: a prompt that differs in its first token only gets another answer, so a lost key would show."""
    prompts = [random_prompt(random.Random(seed), 30) for seed in range(4)]
    async with running(llama) as engine:
        full = [await ids(engine, prompt, greedy(14)) for prompt in prompts]
        changed = [await ids(engine, [prompt[0] ^ 1, *prompt[1:]], greedy(14)) for prompt in prompts]
    assert sum(a != b for a, b in zip(full, changed, strict=True)) >= 2
