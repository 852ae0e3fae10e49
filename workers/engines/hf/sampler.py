"""Choosing the next token of every row at once."""

from collections.abc import Sequence as Items

import torch

from workers.engines.hf.noise import gumbel, row_key
from workers.engines.hf.penalties import Penalties, penalises
from workers.engines.hf.sequence import Sequence

CANDIDATES = 256  # likeliest tokens looked at first; nearly always top-p and top-k end within them


def choose(logits: torch.Tensor, sequences: Items[Sequence]) -> list[int]:
    """One token per row of logits [rows, vocabulary]; raises ValueError where a row is not a number."""
    if any(needs_change(sequence) for sequence in sequences) or not all(sequence.greedy for sequence in sequences):
        logits = logits.float().clone()
    for row, sequence in enumerate(sequences):
        if needs_change(sequence):
            change(logits[row], sequence)
    best = logits.max(-1)
    chosen = best.indices
    sampled = [row for row, sequence in enumerate(sequences) if not sequence.greedy]
    if sampled:
        rows = torch.tensor(sampled, device=logits.device)
        chosen = chosen.index_copy(0, rows, sample(logits[rows], [sequences[row] for row in sampled]))
    tokens: list[int] = torch.where(best.values.isnan(), -1, chosen).tolist()
    if -1 in tokens:
        raise ValueError("the model's scores for the next token are not numbers")
    return tokens


def needs_change(sequence: Sequence) -> bool:
    """Whether the logits change before a token is chosen."""
    return bool(sequence.barred) or penalises(sequence.sampling)


def change(logits: torch.Tensor, sequence: Sequence) -> None:
    """Apply penalties, and bar tokens, in place: logits [vocabulary]."""
    if penalises(sequence.sampling):
        if sequence.penalties is None:
            sequence.penalties = Penalties(sequence.sampling, sequence.tokens, sequence.given, logits.device)
        sequence.penalties.apply(logits)
    barred = [token for token in sequence.barred if token < len(logits)]
    if barred:
        logits[barred] = float("-inf")


def sample(logits: torch.Tensor, sequences: Items[Sequence]) -> torch.Tensor:
    """Tokens [rows] drawn by the Gumbel-max trick: the likeliest after adding noise."""
    temperatures = [sequence.sampling.temperature for sequence in sequences]
    scaled = logits / torch.tensor(temperatures, device=logits.device)[:, None]
    keys = [row_key(sequence.seed, len(sequence.tokens)) for sequence in sequences]
    free = [row for row, sequence in enumerate(sequences) if not truncates(sequence)]
    cut = [row for row, sequence in enumerate(sequences) if truncates(sequence)]
    chosen = torch.zeros(len(sequences), dtype=torch.long, device=logits.device)
    if free:
        chosen[free] = draw_from_all(scaled[free], [keys[row] for row in free])
    if cut:
        chosen[cut] = draw_from_likely(scaled[cut], [sequences[row] for row in cut], [keys[row] for row in cut])
    return chosen


def truncates(sequence: Sequence) -> bool:
    """Whether top-k or top-p leave tokens out."""
    return sequence.sampling.top_k > 0 or sequence.sampling.top_p < 1.0


def draw_from_all(scaled: torch.Tensor, keys: Items[tuple[int, int]]) -> torch.Tensor:
    """Draw from the whole vocabulary."""
    noise = gumbel(keys, torch.arange(scaled.shape[1], device=scaled.device))
    return (scaled + noise).max(-1).indices


def draw_from_likely(scaled: torch.Tensor, sequences: Items[Sequence], keys: Items[tuple[int, int]]) -> torch.Tensor:
    """Draw from what top-k and top-p leave: among a few candidates where they suffice, else from a full sort."""
    size = scaled.shape[1]
    top_k = torch.tensor([min(s.sampling.top_k, size) for s in sequences], device=scaled.device)
    # A limit of 1 is none: the sum of all shares may round to a little more.
    top_p = torch.tensor([s.sampling.top_p if s.sampling.top_p < 1 else 2.0 for s in sequences], device=scaled.device)
    values, ids = scaled.topk(min(CANDIDATES, size))
    cutoff, complete = cutoffs(values, scaled.logsumexp(-1), top_k, top_p)
    noisy = values.masked_fill(values < cutoff[:, None], float("-inf")) + gumbel(keys, ids)
    chosen = ids.gather(1, noisy.max(-1).indices[:, None])[:, 0]
    short = [] if values.shape[1] == size else (~complete).nonzero()[:, 0].tolist()
    if short:
        rows = scaled[short]
        ordered = rows.sort(-1, descending=True).values
        cutoff, _ = cutoffs(ordered, rows.logsumexp(-1), top_k[short], top_p[short])
        left = rows.masked_fill(rows < cutoff[:, None], float("-inf"))
        chosen[short] = draw_from_all(left, [keys[row] for row in short])
    return chosen


def cutoffs(
    values: torch.Tensor, total: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The least score that stays in [rows], and whether these largest scores [rows, n], descending, suffice to know.

    Equal scores stay in or out together, so the result does not depend on how a sort orders them. As in transformers,
    top-p follows top-k and counts within it. `total`: logsumexp of each row's whole vocabulary.
    """
    place = (top_k.clamp(1, values.shape[1]) - 1)[:, None]
    limited = (top_k > 0)[:, None]
    outside = limited & (values < values.gather(1, place))
    inside = values.masked_fill(outside, float("-inf"))
    total = torch.where(limited[:, 0], inside.logsumexp(-1), total)
    share = (inside - total[:, None]).exp()
    before = share.cumsum(-1) - share
    kept = (~outside & (before < top_p[:, None])).sum(-1).clamp(min=1)
    cutoff = values.gather(1, kept[:, None] - 1)[:, 0]
    return cutoff, cutoff > values[:, -1]
