"""The noise is finite, well spread, and a function of seed, position and token id alone."""

import torch

from workers.engines.hf.noise import gumbel, mix32, mix64, row_key, signed32


def test_mix64_is_splitmix() -> None:
    """The first outputs for seed 0 are those of the published splitmix64."""
    assert mix64(0) == 0xE220A8397B1DCDAF
    assert mix64(0x9E3779B97F4A7C15) == 0x6E789E6AA1B965F4


def test_mix32_is_murmurs_finaliser() -> None:
    """int32 tensors give what unsigned 32-bit arithmetic gives."""

    def plain(x: int) -> int:
        x ^= x >> 16
        x = x * 0x85EBCA6B & 0xFFFFFFFF
        x ^= x >> 13
        x = x * 0xC2B2AE35 & 0xFFFFFFFF
        return x ^ x >> 16

    numbers = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xDEADBEEF]
    tensor = torch.tensor([signed32(x) for x in numbers], dtype=torch.int32)
    assert mix32(tensor).tolist() == [signed32(plain(x)) for x in numbers]


def test_noise_is_finite_over_a_large_vocabulary() -> None:
    """No token of 4 million gets infinite noise: with 24 random bits the largest would."""
    keys = [row_key(seed, position) for seed in range(4) for position in range(4)]
    noise = gumbel(keys, torch.arange(1 << 18))
    assert torch.isfinite(noise).all()
    assert noise.max() > 10  # the tail is there


def test_a_tokens_noise_does_not_depend_on_its_neighbours() -> None:
    """Any selection of ids, in any order, gets the noise that the whole vocabulary gets."""
    keys = [row_key(5, 9), row_key(6, 9)]
    whole = gumbel(keys, torch.arange(1000))
    some = torch.tensor([[999, 3, 500], [0, 1, 999]])
    assert torch.equal(gumbel(keys, some), whole.gather(1, some))


def test_draws_follow_the_distribution() -> None:
    """Over 20,000 positions each token is drawn as often as its probability says (chi-square, 5 degrees of freedom)."""
    share = torch.tensor([0.4, 0.25, 0.2, 0.1, 0.04, 0.01])
    noise = gumbel([row_key(123, position) for position in range(20_000)], torch.arange(6))
    drawn = (share.log() + noise).argmax(-1).bincount(minlength=6)
    expected = share * 20_000
    assert ((drawn - expected) ** 2 / expected).sum() < 20.5  # 1 in 1,000
