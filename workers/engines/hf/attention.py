"""Attention over the rows' own keys and values, as a function that transformers' models call in each layer."""

from contextvars import ContextVar
from typing import cast

import torch
from torch.nn import functional
from transformers import AttentionInterface

from workers.engines.hf.step import Span, Step

NAME = "baton_rows"

# The step in progress on this thread: models hand no argument of ours through to the attention function.
STEP: ContextVar[Step] = ContextVar("STEP")


def register() -> None:
    """Make the function known to transformers. A name without a mask function also keeps models from building masks."""
    AttentionInterface.register(NAME, attend)


def attend(  # the names and their order are transformers'
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
    keys, values = step.write(layer, key, value)
    look = Look(scaling or query.shape[-1] ** -0.5, sliding_window, softcap, s_aux)
    parts = [look.singles(step, query, keys, values)] if step.singles else []
    parts += [look.span(step, span, query, keys, values) for span in step.spans]
    return (parts[0] if len(parts) == 1 else torch.cat(parts))[None], None


class Look:
    """How the heads of one layer look at keys."""

    __slots__ = ("cap", "scale", "sinks", "window")

    def __init__(self, scale: float, window: int | None, cap: float | None, sinks: torch.Tensor | None) -> None:
        self.scale, self.window, self.cap, self.sinks = scale, window, cap, sinks

    def singles(self, step: Step, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """The single tokens, all rows at once: [singles, heads, size]."""
        count, rows, heads = step.singles, step.rows, keys.shape[1]
        queries = query[0, :, :count].transpose(0, 1)
        if not step.dense:  # rows between them have no single token now: they get a query of zeros
            queries = queries.new_zeros(rows, *queries.shape[1:]).index_copy_(
                0, step.single_rows(query.device), queries
            )
        grouped = queries.reshape(rows * heads, -1, queries.shape[-1])
        bias = step.single_bias(keys.shape[2], self.window, query)
        found = self._weigh(
            grouped,
            keys[:rows].flatten(0, 1),
            values[:rows].flatten(0, 1),
            bias.expand(-1, heads, -1, -1).flatten(0, 1),
        )
        found = found.reshape(rows, -1, found.shape[-1])
        return found if step.dense else found.index_select(0, step.single_rows(query.device))

    def span(
        self, step: Step, span: Span, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        """Several tokens of one row: [count, heads, size]."""
        heads, end = keys.shape[1], span.end
        queries = query[0, :, span.first : span.first + span.count]
        groups = queries.shape[0] // heads
        seen_keys = keys[span.row, :, :end].repeat_interleave(groups, 0)
        seen_values = values[span.row, :, :end].repeat_interleave(groups, 0)
        plain = span.start == 0 and (self.window is None or end <= self.window)
        mask = None if plain else step.span_mask(span, self.window, query.device)
        if self.cap is None and self.sinks is None:
            found = functional.scaled_dot_product_attention(
                queries[None], seen_keys[None], seen_values[None], mask, is_causal=plain, scale=self.scale
            )[0]
        else:
            seen = step.span_mask(span, self.window, query.device)
            bias = torch.zeros_like(seen, dtype=query.dtype).masked_fill_(~seen, float("-inf"))
            found = self._weigh(queries, seen_keys, seen_values, bias[None].expand(len(queries), -1, -1))
        return found.transpose(0, 1)

    def _weigh(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        """Values [b, t, size] weighed by softmaxed scores of queries [b, q, size] with keys [b, t, size]."""
        if self.cap is None:
            scores = torch.baddbmm(bias, queries, keys.transpose(1, 2), alpha=self.scale)
        else:
            scores = torch.bmm(queries, keys.transpose(1, 2)).mul_(self.scale)
            scores = torch.tanh_(scores.div_(self.cap)).mul_(self.cap) + bias
        if self.sinks is not None:
            scores = torch.cat([scores, self._sink_column(scores)], -1)
        weights = torch.softmax(scores, -1, dtype=torch.float32).to(values.dtype)
        return torch.bmm(weights if self.sinks is None else weights[..., :-1], values)

    def _sink_column(self, scores: torch.Tensor) -> torch.Tensor:
        """A learned score per head that takes weight and gives no value: [b, q, 1]."""
        assert self.sinks is not None
        batch, queries, _ = scores.shape
        return self.sinks.to(scores.dtype).reshape(-1)[self._heads(batch, queries)][..., None]

    def _heads(self, batch: int, queries: int) -> torch.Tensor:
        """Number of the head that computes each score [batch, queries]."""
        assert self.sinks is not None
        heads = self.sinks.numel()
        if batch == heads:  # one span: a batch entry is a head, its queries are tokens
            return torch.arange(heads, device=self.sinks.device)[:, None].expand(batch, queries)
        # singles: a batch entry is a row's group of heads, its queries are the heads of the group
        return (torch.arange(batch * queries, device=self.sinks.device) % heads).view(batch, queries)
