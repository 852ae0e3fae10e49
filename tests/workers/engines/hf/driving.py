"""Running an engine in a test, with every wait bounded."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from tests.workers.engines.hf.tiny import EOS
from workers.engines.base import Sampling, Token
from workers.engines.hf.engine import HfEngine
from workers.engines.hf.settings import HfSettings

PATIENCE = 60.0


@asynccontextmanager
async def running(folder: Path, **settings: object) -> AsyncIterator[HfEngine]:
    """A started engine; stopped at the end."""
    options: dict[str, Any] = {"device": "cpu", "dtype": "float32", "slots": 4, **settings}
    engine = HfEngine(HfSettings(str(folder), **options))
    async with asyncio.timeout(PATIENCE):
        await engine.start()
        try:
            yield engine
        finally:
            await engine.stop()


def greedy(count: int, **options: object) -> Sampling:
    """The likeliest tokens, exactly so many."""
    changes: dict[str, Any] = {"temperature": 0.0, "ignore_eos": True, **options}
    return Sampling(count, **changes)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what an engine only shows when asked; the time limit of `running` bounds the wait."""
    while not condition():  # noqa: ASYNC110 - an engine has no event for it
        await asyncio.sleep(0.001)


async def generate(engine: HfEngine, prompt: Sequence[int], sampling: Sampling) -> list[Token]:
    """All tokens of a generation."""
    return [token async for token in engine.generate(prompt, sampling)]


async def ids(engine: HfEngine, prompt: Sequence[int], sampling: Sampling) -> list[int]:
    """All token ids of a generation."""
    return [token.id for token in await generate(engine, prompt, sampling)]


@dataclass
class Request:
    """A generation in a crowd."""

    prompt: list[int]
    sampling: Sampling
    leave_after: int | None = None  # close the generation after so many tokens
    next_after: int = 1  # let the next request start after so many tokens
    next_may_start: asyncio.Event = field(default_factory=asyncio.Event)


def crowd(rng: random.Random, count: int, longest: int, **options: object) -> list[Request]:
    """Requests of ragged lengths that join and leave at odd moments; every fifth is given up."""
    found = []
    for number in range(count):
        size, tokens = rng.randint(1, longest), rng.randint(3, 14)
        leave = rng.randint(1, tokens - 1) if number % 5 == 4 else None
        found.append(Request(random_prompt(rng, size), greedy(tokens, **options), leave, rng.randint(0, 3)))
    return found


def random_prompt(rng: random.Random, size: int) -> list[int]:
    """Token ids that stand for bytes."""
    return [rng.randrange(256) for _ in range(size)]


async def serve_together(engine: HfEngine, requests: Sequence[Request]) -> list[list[int]]:
    """Token ids of each request; one starts when the one before it has got some tokens."""
    started = [asyncio.Event(), *[request.next_may_start for request in requests]]
    started[0].set()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_serve(engine, request, before))
            for request, before in zip(requests, started, strict=False)
        ]
    return [task.result() for task in tasks]


async def _serve(engine: HfEngine, request: Request, may_start: asyncio.Event) -> list[int]:
    await may_start.wait()
    if request.next_after == 0:
        request.next_may_start.set()
    found: list[int] = []
    try:
        async with aclosing(engine.generate(request.prompt, request.sampling)) as tokens:
            async for token in tokens:
                found.append(token.id)
                if len(found) >= request.next_after:
                    request.next_may_start.set()
                if len(found) == request.leave_after:
                    break
    finally:
        request.next_may_start.set()
    return found


def stock(folder: Path, prompts: Sequence[Sequence[int]], count: int) -> list[list[int]]:
    """What transformers' own `generate` gives for each prompt alone, end-of-text ids ignored."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = EOS
    found = []
    for prompt in prompts:
        with torch.inference_mode():
            out = model.generate(torch.tensor([list(prompt)]), max_new_tokens=count, do_sample=False)
        found.append(out[0, len(prompt) :].tolist())
    return found
