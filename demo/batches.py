"""Batches: token ids of about the same length together, padded on the right; and pure copying practice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from demo.corpus import mixture
from demo.corpus.mixture import Shares
from demo.tokenizer import encode

POOL = 1500
LONGEST = 640


@dataclass(frozen=True, slots=True)
class Batch:
    """Ids [rows, length], the mask of positions whose next token is learnt, and the number of real tokens."""

    ids: Tensor
    learnt: Tensor
    tokens: int


def chats(tokenizer: Tokenizer, rng: random.Random, budget: int, drill: float, shares: Shares) -> Iterator[Batch]:
    """A pool's batches of at most `budget` tokens each, in random order."""
    pool = encode(tokenizer, [mixture.document(rng, drill, shares) for _ in range(POOL)])
    rows = sorted((row for row in pool if len(row[0]) <= LONGEST), key=lambda row: len(row[0]))
    groups: list[list[tuple[list[int], list[bool]]]] = [[]]
    for row in rows:
        if (len(groups[-1]) + 1) * len(row[0]) > budget:
            groups.append([])
        groups[-1].append(row)
    rng.shuffle(groups)
    return (_padded(group) for group in groups)


def _padded(rows: list[tuple[list[int], list[bool]]]) -> Batch:
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
    learnt = torch.tensor([mask[1:] + [False] * (width - len(mask) + 1) for _, mask in rows])
    return Batch(ids, learnt, sum(len(ids) for ids, _ in rows))


def copying(vocabulary: int, generator: torch.Generator, budget: int) -> Batch:
    """Random ids, a gap, and the same ids again; only the second copy is learnt."""
    length = int(torch.randint(4, 25, (), generator=generator))
    gap = int(torch.randint(0, 5, (), generator=generator))
    rows = budget // (2 * length + gap)
    ids = torch.randint(0, vocabulary, (rows, 2 * length + gap), generator=generator)
    ids[: rows // 2] %= 350
    ids[:, length + gap :] = ids[:, :length]
    learnt = torch.zeros_like(ids, dtype=torch.bool)
    learnt[:, length + gap : -1] = True
    return Batch(ids, learnt, ids.numel())
