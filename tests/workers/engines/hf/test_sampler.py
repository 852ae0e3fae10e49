"""Penalties, top-k and top-p against plain references."""

import math
from typing import Any

import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor, TopKLogitsWarper, TopPLogitsWarper

from workers.engines.base import Sampling
from workers.engines.hf import sampler
from workers.engines.hf.sequence import Sequence


def sequence(prompt: list[int], output: list[int] | None = None, **options: object) -> Sequence:
    """A sequence that has got these tokens."""
    changes: dict[str, Any] = {"max_tokens": 100, "seed": 0, **options}
    made = Sequence(
        prompt=prompt,
        sampling=Sampling(**changes),
        seed=changes["seed"],
        ends=frozenset(),
        room=1000,
        deliver=lambda _: None,
    )
    for token in output or []:
        made.add(token)
    return made


def scores(rows: int, size: int, seed: int = 0) -> torch.Tensor:
    """Random logits."""
    return 4 * torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))


def test_penalties_are_those_of_the_definitions() -> None:
    """Repetition counts prompt and output, presence and frequency the output only."""
    prompt, output = [1, 2, 3, 3], [3, 5, 5, 7]
    penalised = sequence(prompt, repetition_penalty=1.5, presence_penalty=0.4, frequency_penalty=0.3)
    logits = scores(1, 20)
    expected = RepetitionPenaltyLogitsProcessor(1.5)(torch.tensor([prompt + output]), logits.clone())[0]
    for token in range(20):
        expected[token] -= 0.3 * output.count(token) + (0.4 if token in output else 0.0)
    sampler.change(logits.clone()[0], penalised)  # notes the prompt, as a first step does
    for token in output:
        penalised.add(token)
    found = logits[0].clone()
    sampler.change(found, penalised)
    assert torch.allclose(found, expected)


def test_what_was_resumed_counts_as_output() -> None:
    """After a hand-over the penalties are those of the uninterrupted generation, not those of a longer prompt."""
    options: dict[str, Any] = {"repetition_penalty": 1.1, "presence_penalty": 1.0, "frequency_penalty": -0.5}
    found = []
    for made in (
        sequence([1, 2], [4, 4, 5], **options),
        sequence([1, 2, 4, 4, 5], resumed=3, **options),
        sequence([1, 2, 4, 4, 5], **options),
    ):
        logits = scores(1, 10)[0]
        sampler.change(logits, made)
        found.append(logits)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_penalties_follow_many_tokens() -> None:
    """A text of more distinct tokens than the first reservation is still counted right."""
    output = [token % 500 for token in range(700)]
    penalised = sequence([600], frequency_penalty=1.0)
    sampler.change(torch.zeros(601), penalised)
    for token in output:
        penalised.add(token)
    found = torch.zeros(601)
    sampler.change(found, penalised)
    assert found.tolist() == [-float(output.count(token)) for token in range(601)]


@pytest.mark.parametrize("size", [50, 2000])
@pytest.mark.parametrize(("top_k", "top_p"), [(0, 0.9), (0, 0.1), (5, 1.0), (40, 0.7), (1000, 0.999), (0, 0.9999)])
def test_only_tokens_that_top_k_and_top_p_leave_are_drawn(size: int, top_k: int, top_p: float) -> None:
    """Draws stay within the set that transformers' own warpers leave, and reach all its likely tokens."""
    logits = scores(1, size) * (0.05 if top_p > 0.99 else 1.0)  # flat: the set is larger than the first candidates
    left = logits / 0.8
    if top_k:
        left = TopKLogitsWarper(top_k)(torch.tensor([[0]]), left)
    if top_p < 1:
        left = TopPLogitsWarper(top_p)(torch.tensor([[0]]), left)
    share = left.softmax(-1)[0]
    rows = [sequence([0] * n, temperature=0.8, top_k=top_k, top_p=top_p, seed=7) for n in range(1, 301)]
    drawn = torch.tensor(sampler.choose(logits.expand(300, -1), rows))
    assert (share[drawn] > 0).all()
    assert set((share > 0.05).nonzero()[:, 0].tolist()) <= set(drawn.tolist())


def test_equal_scores_stay_in_together() -> None:
    """Of tokens with equal scores at the edge of top-k, none is preferred by the order of a sort."""
    logits = torch.zeros(1, 1000)
    logits[0, 900] = 1.0
    drawn = sampler.choose(logits.expand(400, -1), [sequence([0] * n, top_k=3) for n in range(1, 401)])
    assert len(set(drawn)) > 100


def test_the_cut_rows_do_not_disturb_the_others() -> None:
    """A batch of greedy, free and truncated rows gives each what it gets alone."""
    kinds: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {},
        {"top_k": 3},
        {"top_p": 0.5},
        {"top_k": 1},
        {"top_p": 0.99999},
    ]
    rows = [sequence([1, 2, 3], **kind) for kind in kinds * 2]
    logits = scores(len(rows), 600)
    alone = [sampler.choose(logits[i : i + 1], [row])[0] for i, row in enumerate(rows)]
    assert sampler.choose(logits, rows) == alone
    assert alone[0] == logits[0].argmax()
    assert alone[4] == logits[4].argmax()


def test_ends_are_barred_until_min_tokens() -> None:
    """A likeliest end-of-text id is passed over before `min_tokens`, and taken after."""
    made = sequence([1], temperature=0.0, min_tokens=2)
    made.ends = frozenset({3})
    logits = torch.tensor([[0.0, 1.0, 2.0, 9.0]])
    found = []
    for _ in range(3):
        found += sampler.choose(logits, [made])
        made.add(found[-1])
    assert found == [2, 2, 3]
    assert logits[0, 3] == 9.0  # the model's own tensor is not written to


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {}, {"top_p": 0.5}])
def test_scores_that_are_no_numbers_are_refused(options: dict[str, Any]) -> None:
    """NaN never becomes a token."""
    logits = scores(2, 30)
    logits[1, 4] = math.nan
    with pytest.raises(ValueError, match="not numbers"):
        sampler.choose(logits, [sequence([1], **options), sequence([1], **options)])
