"""transformers' own `generate`, for comparison: what a worker without batching gives."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM


class Stock:
    """A model as transformers serves it."""

    def __init__(self, folder: Path) -> None:
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
        self._model.generation_config.eos_token_id = None
        self._model.generation_config.pad_token_id = 0

    def answer(self, prompt: Sequence[int], count: int) -> None:
        """Generate so many tokens, the likeliest ones."""
        with torch.inference_mode():
            out = self._model.generate(torch.tensor([list(prompt)]), max_new_tokens=count, do_sample=False)
        if out.shape[1] != len(prompt) + count:
            raise RuntimeError(f"{out.shape[1] - len(prompt)} tokens came instead of {count}")
