"""The batched path: all rows share one forward pass over packed tokens."""

import inspect
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from workers.engines.hf.attention import STEP
from workers.engines.hf.forward import Chunk
from workers.engines.hf.kv import KvCache
from workers.engines.hf.step import Step


class PackedForward:
    """A model whose attention is `attention.attend`, with the keys and values of its rows."""

    def __init__(self, model: PreTrainedModel, kv: KvCache) -> None:
        self._model, self._kv = model, kv
        self._device = model.get_input_embeddings().weight.device
        self._selects = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.last_step: Step | None = None  # for the gate, which checks how the model called the attention

    def forward(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """See Forward."""
        self._kv.reserve(chunks)
        step = self.last_step = Step(chunks, self._kv, self._device)
        wanted = step.wanted()
        selection = {"logits_to_keep": wanted} if self._selects else {}
        token = STEP.set(step)
        try:
            out = self._model(input_ids=step.ids, position_ids=step.positions, use_cache=False, **selection)
        finally:
            STEP.reset(token)
        logits: torch.Tensor = out.logits[0]
        if not self._selects:
            logits = logits[wanted.to(logits.device)]
        return logits[: step.wanted_count]

    def remove(self, row: int, last: int) -> None:
        """See Forward."""
        self._kv.remove(row, last)

    def clear(self) -> None:
        """See Forward."""
        self._kv.clear()
