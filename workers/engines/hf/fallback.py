"""The slower path for models that the batched one cannot serve: each row through the model's own forward and cache."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from workers.engines.base import EngineError
from workers.engines.hf.forward import Chunk
from workers.engines.hf.model import embedding, generating


class FallbackForward:
    """A model that computes row after row; the rows still take turns, token by token.

    The bookkeeping between two tokens (cache, mask, positions) is transformers' own, as its `generate` does it:
    recurrent and hybrid models differ there.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._device = embedding(model).weight.device
        self._states: dict[int, dict[str, object]] = {}
        self._newest: dict[int, tuple[Chunk, torch.Tensor]] = {}

    def forward(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """See Forward."""
        done = [self._advance(chunk) for chunk in chunks]
        return torch.stack([logits for logits, chunk in zip(done, chunks, strict=True) if chunk.wanted])

    def remove(self, row: int, last: int) -> None:
        """See Forward."""
        state, newest = self._states.pop(last, None), self._newest.pop(last, None)
        if row != last and state is not None:
            self._states[row] = state
        if row != last and newest is not None:
            self._newest[row] = newest

    def clear(self) -> None:
        """See Forward."""
        self._states.clear()
        self._newest.clear()

    def _advance(self, chunk: Chunk) -> torch.Tensor:
        """Logits [vocabulary] after the chunk's last token.

        A cache grows in place, so a row that had its turn in a step which then failed must not have it twice.
        """
        known = self._newest.get(chunk.row)
        if known is not None and known[0] == chunk:
            return known[1]
        logits = self._compute(chunk)
        self._newest[chunk.row] = (chunk, logits)
        return logits

    def _compute(self, chunk: Chunk) -> torch.Tensor:
        model = self._model
        ids = torch.tensor([chunk.tokens], dtype=torch.long, device=self._device)
        state = self._states.pop(chunk.row, None)
        first = chunk.start == 0
        if first:
            state = {"attention_mask": torch.ones_like(ids), "use_cache": True}
        elif state is None:
            raise EngineError("the state of this sequence was lost in an earlier failure")
        inputs = generating(model).prepare_inputs_for_generation(ids, is_first_iteration=first, **state)
        out = model(**inputs, return_dict=True)
        self._states[chunk.row] = generating(model)._update_model_kwargs_for_generation(out, state)
        logits: torch.Tensor = out.logits[0, -1]
        return logits
