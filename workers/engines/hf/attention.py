"""Attention over the rows' own keys and values, as a function that transformers' models call in each layer."""

from contextvars import ContextVar
from typing import cast

import torch
from transformers import AttentionInterface

from workers.engines.hf.look import Look
from workers.engines.hf.step import Step

NAME = "baton_rows"

# The step in progress on this thread: models hand no argument of ours through to the attention function.
STEP: ContextVar[Step] = ContextVar("STEP")


def register() -> None:
    """Make the function known to transformers. A name without a mask function also keeps models from building masks."""
    AttentionInterface.register(NAME, attend)


def attend(  # noqa: PLR0913, PLR0917 - the names and their order are transformers'
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001
    scaling: float | None = None,
    dropout: float = 0.0,  # noqa: ARG001
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **others: object,
) -> tuple[torch.Tensor, None]:
    """Attention of packed queries [1, heads, n, size], each over its own row: [1, n, heads, size]."""
    step = STEP.get()
    layer = cast(int, module.layer_idx)
    step.calls.append((layer, {**others, "sliding_window": sliding_window}))
    look = Look(scaling or query.shape[-1] ** -0.5, sliding_window, softcap, s_aux)
    found: list[torch.Tensor] = []
    for part in step.parts:
        own = query[:, :, part.slice]
        keys, values = part.write(layer, key[:, :, part.slice], value[:, :, part.slice])
        found += [look.singles(part, own, keys, values)] if part.singles else []
        found += [look.span(part, span, own, keys, values) for span in part.spans]
    return (found[0] if len(found) == 1 else torch.cat(found))[None], None
