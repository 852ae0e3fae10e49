"""The batched path: all rows share one forward pass over packed tokens."""

import inspect
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from workers.engines.hf.attention import STEP
from workers.engines.hf.forward import Chunk
from workers.engines.hf.kv import KvCache
from workers.engines.hf.model import embedding
from workers.engines.hf.step import Calls, Step


class PackedForward:
    """A model whose attention is `attention.attend`, with the keys and values of its rows."""

    def __init__(self, model: PreTrainedModel, kv: KvCache) -> None:
        self._model, self._kv = model, kv
        self._device = embedding(model).weight.device
        self._selects = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.calls: Calls = []  # of the attention in the newest step, for the gate

    def forward(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """See Forward."""
        self._kv.reserve(chunks)
        step = Step(chunks, self._kv, self._device)
        self.calls = step.calls
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
