"""Who runs and who waits: first come, first served, over a fixed number of slots. Pure."""

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Slots(Generic[T]):
    """`size` slots and a queue of at most `max_waiting` tickets before them."""

    def __init__(self, size: int, max_waiting: int) -> None:
        self.size = size
        self.max_waiting = max_waiting
        self._running: set[T] = set()
        self._queue: dict[T, None] = {}  # in order of arrival

    @property
    def running(self) -> frozenset[T]:
        return frozenset(self._running)

    @property
    def waiting(self) -> tuple[T, ...]:
        return tuple(self._queue)

    def counts(self) -> tuple[int, int]:
        """How many run, how many wait."""
        return len(self._running), len(self._queue)

    def has_room(self, count: int) -> bool:
        """Whether `count` more tickets can all run or wait."""
        free = self.size - len(self._running)
        return len(self._queue) + max(0, count - free) <= self.max_waiting

    def enter(self, ticket: T) -> bool:
        """Take the ticket in: True when it runs at once, False when it waits."""
        if len(self._running) < self.size:
            self._running.add(ticket)
            return True
        self._queue[ticket] = None
        return False

    def leave(self, ticket: T) -> T | None:
        """Let a ticket go, wherever it is; gives the ticket that runs in its place. Unknown tickets change nothing."""
        self._queue.pop(ticket, None)
        if ticket not in self._running:
            return None
        self._running.remove(ticket)
        if not self._queue:
            return None
        first = next(iter(self._queue))
        del self._queue[first]
        self._running.add(first)
        return first
