"""The batched path: all rows share one forward pass over packed tokens."""

import inspect
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from workers.engines.hf.attention import STEP
from workers.engines.hf.forward import Chunk
from workers.engines.hf.model import embedding
from workers.engines.hf.shelves import Shelves
from workers.engines.hf.step import Calls, Step


class PackedForward:
    """A model whose attention is `attention.attend`, with the keys and values of its rows."""

    def __init__(self, model: PreTrainedModel, shelves: Shelves) -> None:
        self._model, self._shelves = model, shelves
        self._device = embedding(model).weight.device
        self._selects = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.calls: Calls = []  # of the attention in the newest step, for the gate

    def forward(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """See Forward."""
        step = Step(chunks, self._shelves.place(chunks), self._device)
        self.calls = step.calls
        selection = {"logits_to_keep": step.wanted} if self._selects else {}
        token = STEP.set(step)
        try:
            out = self._model(input_ids=step.ids, position_ids=step.positions, use_cache=False, **selection)
        finally:
            STEP.reset(token)
        logits: torch.Tensor = out.logits[0]
        if not self._selects:
            logits = logits[step.wanted.to(logits.device)]
        return logits[: step.wanted_count]

    def remove(self, row: int, last: int) -> None:
        """See Forward."""
        self._shelves.remove(row, last)

    def clear(self) -> None:
        """See Forward."""
        self._shelves.clear()
