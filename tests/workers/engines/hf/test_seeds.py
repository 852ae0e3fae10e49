"""Seeded sampling depends on the request alone."""

import dataclasses
import random
from pathlib import Path
from typing import Any

from tests.workers.engines.hf.driving import Request, crowd, greedy, ids, random_prompt, running, serve_together
from workers.engines.base import Sampling

KINDS: list[dict[str, Any]] = [
    {"temperature": 1.0},
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 1.3, "top_k": 20},
    {"temperature": 1.0, "top_k": 50, "top_p": 0.8, "repetition_penalty": 1.2},
    {"temperature": 1.0, "presence_penalty": 1.0, "frequency_penalty": 0.5, "min_tokens": 5, "ignore_eos": False},
]


def sampled_crowd() -> list[Request]:
    """Requests of every kind of sampling, each with its own seed."""
    requests = crowd(random.Random(4), 15, longest=40)
    for number, request in enumerate(requests):
        options = {"seed": number * 7919} | KINDS[number % len(KINDS)]
        request.sampling = dataclasses.replace(request.sampling, **options)
    return requests


async def test_alone_and_in_a_crowd(llama: Path) -> None:
    """A seeded request gets the same tokens alone as in two quite different crowds."""
    requests = sampled_crowd()
    async with running(llama, slots=1) as engine:
        alone = [await ids(engine, request.prompt, request.sampling) for request in requests]
    for order in (requests, list(reversed(sampled_crowd()))):
        async with running(llama, slots=5, prompt_budget=24) as engine:
            found = await serve_together(engine, order)
        expected = alone if order is requests else list(reversed(alone))
        assert found == [tokens[: r.leave_after or len(tokens)] for tokens, r in zip(expected, order, strict=True)]


async def test_a_resumed_generation_continues_exactly(llama: Path) -> None:
    """Prompt and the tokens so far, sent with the same seed, bring the tokens that would have come."""
    async with running(llama) as engine:
        for number, options in enumerate([{"temperature": 0.0}, *KINDS]):
            sampling = greedy(30, seed=11, **options)
            prompt = random_prompt(random.Random(number), 12)
            whole = await ids(engine, prompt, sampling)
            kept = len(whole) // 2
            rest = await ids(engine, prompt + whole[:kept], dataclasses.replace(sampling, resumed=kept))
            assert whole[:kept] + rest == whole, options
            if not options.keys() & {"presence_penalty", "min_tokens"}:  # these must know what is output
                rest = await ids(engine, prompt + whole[:kept], dataclasses.replace(sampling, max_tokens=30 - kept))
                assert whole[:kept] + rest == whole, options


async def test_unseeded_requests_differ(llama: Path) -> None:
    """Without a seed the same request gets another answer each time, but an engine with a base seed repeats itself."""
    sampling = Sampling(max_tokens=20, temperature=2.0, ignore_eos=True)
    runs = []
    for base in (None, 3, 3):
        async with running(llama, seed=base) as engine:
            runs.append([await ids(engine, [1, 2, 3], sampling) for _ in range(2)])
    assert runs[0][0] != runs[0][1]
    assert runs[1][0] != runs[1][1]
    assert runs[1] == runs[2] != runs[0]


async def test_other_seeds_give_other_tokens(llama: Path) -> None:
    """Seeds that differ in one bit, high or low, give different texts."""
    async with running(llama) as engine:
        texts = [
            await ids(engine, [1, 2, 3], Sampling(max_tokens=12, temperature=2.0, ignore_eos=True, seed=seed))
            for seed in (0, 1, 1 << 40, -1)
        ]
    assert len({tuple(text) for text in texts}) == 4
