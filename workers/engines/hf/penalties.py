"""Repetition, presence and frequency penalties of one sequence."""

from collections.abc import Sequence

import torch

from workers.engines.base import Sampling


class Penalties:
    """The tokens seen so far, and what they cost. Holds the distinct ids only, so a step costs little."""

    def __init__(self, sampling: Sampling, tokens: Sequence[int], given: int, device: torch.device) -> None:
        """`tokens`: those so far, of which the first `given` are the prompt."""
        self._sampling = sampling
        distinct = list(dict.fromkeys(tokens[:given]))
        self._place = {token: place for place, token in enumerate(distinct)}
        self._ids = torch.tensor(distinct, dtype=torch.long, device=device)
        self._counts = torch.zeros(len(distinct), device=device)
        for token in tokens[given:]:
            self.count(token)

    def count(self, token: int) -> None:
        """Take note of an output token."""
        place = self._place.setdefault(token, len(self._place))
        if place == len(self._ids):
            self._grow()
        self._ids[place] = token
        self._counts[place] += 1

    def apply(self, logits: torch.Tensor) -> None:
        """Change the float logits [vocabulary] of the next token in place."""
        used = len(self._place)
        ids, counts, sampling = self._ids[:used], self._counts[:used], self._sampling
        known = logits[ids]
        if sampling.repetition_penalty != 1.0:
            penalty = sampling.repetition_penalty
            known = torch.where(known < 0, known * penalty, known / penalty)
        known = known - sampling.frequency_penalty * counts - sampling.presence_penalty * (counts > 0)
        logits[ids] = known

    def _grow(self) -> None:
        room = max(64, len(self._ids))
        self._ids = torch.cat([self._ids, self._ids.new_zeros(room)])
        self._counts = torch.cat([self._counts, self._counts.new_zeros(room)])


def penalises(sampling: Sampling) -> bool:
    """Whether any penalty is set."""
    return bool(sampling.repetition_penalty != 1.0 or sampling.presence_penalty or sampling.frequency_penalty)
