"""The few things that are asked of a transformers model, with their types."""

from typing import Any, Protocol, cast

import torch
from torch import nn
from transformers import PreTrainedModel


class Generating(Protocol):
    """The bookkeeping of transformers' own `generate` between two forward passes."""

    def prepare_inputs_for_generation(
        self, input_ids: torch.Tensor, *, is_first_iteration: bool, **state: object
    ) -> dict[str, Any]:
        """Arguments of the next forward pass."""

    def _update_model_kwargs_for_generation(
        self, outputs: object, model_kwargs: dict[str, object]
    ) -> dict[str, object]:
        """The state after it."""


def generating(model: PreTrainedModel) -> Generating:
    """The model, as its `generate` sees it."""
    return cast(Generating, model)


def embedding(model: PreTrainedModel) -> nn.Embedding:
    """The layer that takes token ids: it knows how many there are, and on which device they must be."""
    return cast(nn.Embedding, model.get_input_embeddings())
