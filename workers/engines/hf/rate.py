"""Events per second, over about the last second."""

from collections import deque


class Rate:
    """Pure: the time comes in as an argument, in seconds."""

    def __init__(self, window: float = 1.0) -> None:
        self._window = window
        self._events: deque[tuple[float, int]] = deque()

    def add(self, now: float, count: int) -> None:
        """Take note of `count` events at `now`."""
        self._events.append((now, count))
        self._forget(now)

    def per_second(self, now: float) -> float:
        """The rate at `now`; 0 when nothing happened within the window."""
        self._forget(now)
        return sum(count for _, count in self._events) / self._window

    def _forget(self, now: float) -> None:
        while self._events and self._events[0][0] <= now - self._window:
            self._events.popleft()
