"""How long to wait before the next try: growing, with jitter, so that a thousand peers do not come back at once."""

import random

FIRST = 0.1  # seconds
LONGEST = 1.0  # a restarted controller is whole again within 2 s


class Backoff:
    """The waits between tries; `reset` after a success."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._wait = FIRST

    def next(self) -> float:
        """Seconds to wait now: between a half and the whole of the current step."""
        wait = self._wait * self._rng.uniform(0.5, 1.0)
        self._wait = min(self._wait * 2, LONGEST)
        return wait

    def reset(self) -> None:
        self._wait = FIRST
