"""The arithmetic of attention: the single tokens of all rows at once, and several tokens of one row."""

from dataclasses import dataclass

import torch
from torch.nn import functional

from workers.engines.hf.part import Part, Span


@dataclass(frozen=True, slots=True)
class Look:
    """How the heads of one layer look at keys [rows, heads, tokens, size]; queries may have more heads, in groups."""

    scale: float
    window: int | None  # most tokens seen, the newest included
    cap: float | None  # scores are bent to stay within ± this
    sinks: torch.Tensor | None  # per head [heads] a learned score that takes weight and gives no value

    def singles(self, part: Part, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """The single tokens, all rows at once: [singles, heads, size]."""
        rows, heads = part.rows, keys.shape[1]
        queries = query[0, :, : part.singles].transpose(0, 1)
        if not part.dense:  # rows between them have no single token now: they get a query of zeros
            empty = queries.new_zeros(rows, *queries.shape[1:])
            queries = empty.index_copy_(0, part.single_rows(query.device), queries)
        grouped = queries.reshape(rows * heads, -1, queries.shape[-1])
        bias = part.single_bias(keys.shape[2], self.window, query).expand(-1, heads, -1, -1).flatten(0, 1)
        sinks = None if self.sinks is None else self.sinks.view(heads, -1).repeat(rows, 1)
        found = self._weigh(grouped, keys[:rows].flatten(0, 1), values[:rows].flatten(0, 1), bias, sinks)
        found = found.reshape(rows, -1, found.shape[-1])
        return found if part.dense else found.index_select(0, part.single_rows(query.device))

    def span(
        self, part: Part, span: Span, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        """Several tokens of one row: [count, heads, size]."""
        queries = query[0, :, span.first : span.first + span.count]
        group = queries.shape[0] // keys.shape[1]
        keys = keys[span.row, :, : span.end].repeat_interleave(group, 0)
        values = values[span.row, :, : span.end].repeat_interleave(group, 0)
        fused = self.cap is None and self.sinks is None
        return (self._fused if fused else self._by_hand)(part, span, queries, keys, values).transpose(0, 1)

    def _fused(
        self, part: Part, span: Span, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        plain = span.start == 0 and (self.window is None or span.end <= self.window)
        mask = None if plain else part.span_mask(span, self.window, queries.device)
        return functional.scaled_dot_product_attention(
            queries[None], keys[None], values[None], mask, is_causal=plain, scale=self.scale
        )[0]

    def _by_hand(
        self, part: Part, span: Span, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        heads, count = queries.shape[:2]
        hidden = ~part.span_mask(span, self.window, queries.device)
        bias = torch.zeros_like(hidden, dtype=queries.dtype).masked_fill_(hidden, float("-inf"))
        sinks = None if self.sinks is None else self.sinks.view(heads, 1).expand(heads, count)
        return self._weigh(queries, keys, values, bias.expand(heads, -1, -1), sinks)

    def _weigh(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        bias: torch.Tensor,
        sinks: torch.Tensor | None,
    ) -> torch.Tensor:
        """Values [b, t, size] weighed by the softmaxed scores of queries [b, q, size]; sinks are [b, q]."""
        if self.cap is None:
            scores = torch.baddbmm(bias, queries, keys.transpose(1, 2), alpha=self.scale)
        else:
            scores = torch.bmm(queries, keys.transpose(1, 2)).mul_(self.scale)
            scores = torch.tanh_(scores.div_(self.cap)).mul_(self.cap) + bias
        if sinks is None:
            return torch.bmm(torch.softmax(scores, -1, dtype=torch.float32).to(values.dtype), values)
        scores = torch.cat([scores, sinks[..., None].to(scores.dtype)], -1)
        weights = torch.softmax(scores, -1, dtype=torch.float32).to(values.dtype)
        return torch.bmm(weights[..., :-1], values)
