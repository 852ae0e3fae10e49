"""One forward pass of the batched path: all tokens in one line, part after part."""

from collections.abc import Sequence
from typing import TypeAlias

import torch

from workers.engines.hf.forward import Chunk
from workers.engines.hf.part import Part
from workers.engines.hf.shelves import Placed

Calls: TypeAlias = list[tuple[int, dict[str, object]]]  # (layer, further arguments) of each call of the attention


class Step:
    """The parts, and what the model is called with."""

    def __init__(self, chunks: Sequence[Chunk], placed: Sequence[Placed], device: torch.device) -> None:
        self.parts = parts(placed)
        self.calls: Calls = []
        line = [chunk for part in self.parts for chunk in part.chunks]
        ids = [token for chunk in line for token in chunk.tokens]
        positions = [position for chunk in line for position in range(chunk.start, chunk.end)]
        both = torch.tensor([ids, positions], dtype=torch.long).to(device)
        self.ids, self.positions = both[0:1], both[1:2]
        ends = last_indices(line)
        found = [ends[id(chunk.tokens)] for chunk in chunks if chunk.wanted]
        self.wanted_count = len(found)
        # Indices of the tokens whose logits are needed; at least one, for models cannot compute none.
        self.wanted = torch.tensor(found or [0], dtype=torch.long, device=device)


def parts(placed: Sequence[Placed]) -> list[Part]:
    """A part for each shelf, one after the other."""
    found: list[Part] = []
    for shelf, chunks in placed:
        found.append(Part(chunks, shelf, found[-1].slice.stop if found else 0))
    return found


def last_indices(line: Sequence[Chunk]) -> dict[int, int]:
    """Index of the last token of each chunk, by the identity of its token list, which placing does not change."""
    found, index = {}, -1
    for chunk in line:
        index += len(chunk.tokens)
        found[id(chunk.tokens)] = index
    return found
