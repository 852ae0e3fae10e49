"""Random numbers that depend on nothing but (seed, position, token id).

A seeded request therefore gets the same tokens whatever else is in the batch, on which worker, and after a resume.
"""

from collections.abc import Sequence

import torch

MASK32, MASK64 = (1 << 32) - 1, (1 << 64) - 1


def row_key(seed: int, position: int) -> tuple[int, int]:
    """An addend and an odd factor, as signed 32-bit numbers, for the noise of one token of a sequence."""
    mixed = mix64(mix64(seed & MASK64) + position & MASK64)
    return signed32(mixed & MASK32), signed32(mixed >> 32 | 1)


def mix64(x: int) -> int:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014)."""
    x = x + 0x9E3779B97F4A7C15 & MASK64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK64
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK64
    return x ^ x >> 31


def signed32(x: int) -> int:
    """The same 32 bits, read as a signed number."""
    return x - (1 << 32) if x >> 31 else x


def gumbel(keys: Sequence[tuple[int, int]], ids: torch.Tensor) -> torch.Tensor:
    """Gumbel noise, float32, for token ids [rows, n] or [n] under the key of each row: [rows, n]."""
    addend, factor = torch.tensor(keys, dtype=torch.int32, device=ids.device).T[:, :, None]
    bits = mix32((ids.to(torch.int32) + addend) * factor)
    # 23 bits and a half: with 24 the largest number would round to 1.0 in float32, its noise to infinity.
    uniform = ((bits >> 9 & 0x7FFFFF).float() + 0.5) * 2.0**-23
    return uniform.log_().neg_().log_().neg_()


def mix32(x: torch.Tensor) -> torch.Tensor:
    """The finaliser of murmur3 on int32, which wraps around; its shifts are logical ones, hence the masks."""
    x = x ^ (x >> 16 & 0xFFFF)
    x = x * signed32(0x85EBCA6B)
    x = x ^ (x >> 13 & 0x7FFFF)
    x = x * signed32(0xC2B2AE35)
    return x ^ (x >> 16 & 0xFFFF)
