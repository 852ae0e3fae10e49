"""Tokens per second."""

from workers.engines.hf.rate import Rate


def test_the_rate_covers_the_last_second() -> None:
    """Events count for one second and no longer."""
    rate = Rate()
    rate.add(10.0, 5)
    rate.add(10.6, 3)
    assert rate.per_second(10.9) == 8
    assert rate.per_second(11.1) == 3
    assert rate.per_second(12.0) == 0
