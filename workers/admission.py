"""The door of a worker: one ticket per sequence, taken and given back with `with` only."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from baton.errors import InvalidRequestError, NoWorkerError, OverloadedError
from workers.slots import Slots

RETRY_AFTER = 1  # seconds; a slot comes free when any answer ends


@dataclass(eq=False, slots=True)
class Party:
    """The tickets of one request: once one of them ran, the request is answered here and nowhere else."""

    direct: bool
    started: bool = False


@dataclass(eq=False, slots=True)
class Ticket:
    """The place of one sequence."""

    party: Party
    settled: asyncio.Event = field(default_factory=asyncio.Event)  # it runs, or was sent away
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """What the door sees: sequences that run, that wait, and how many of both came past the API servers."""

    running: int
    waiting: int
    direct: int


class Admission:
    """Shell around `Slots`: wakes those whose turn it is. `changed` is called after every change."""

    def __init__(self, slots: Slots[Ticket], changed: Callable[[], None]) -> None:
        self._slots = slots
        self._changed = changed
        self._direct = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def load(self) -> Load:
        running, waiting = self._slots.counts()
        return Load(running, waiting, self._direct)

    @contextmanager
    def admit(self, count: int, *, direct: bool) -> Iterator[list[Ticket]]:
        """Tickets for all sequences of a request, or OverloadedError."""
        self._check_room(count)
        party = Party(direct)
        tickets = [Ticket(party) for _ in range(count)]
        for ticket in tickets:
            self._enter(ticket)
        try:
            yield tickets
        finally:
            for ticket in reversed(tickets):  # the last first: none of them starts because another left
                self._leave(ticket)

    @asynccontextmanager
    async def turn(self, ticket: Ticket) -> AsyncIterator[None]:
        """Wait for the ticket's slot and hold it. Raises NoWorkerError when the worker drains meanwhile."""
        await ticket.settled.wait()
        if ticket.refused:
            raise NoWorkerError("This worker is shutting down.", retry_after=RETRY_AFTER)
        try:
            yield
        finally:
            self._leave(ticket)

    def refuse_waiting(self) -> None:
        """Send away the requests of which nothing runs yet, so that another worker can take them."""
        for ticket in self._slots.waiting:
            if not ticket.party.started:
                ticket.refused = True
                self._leave(ticket)
                ticket.settled.set()

    async def empty(self) -> None:
        """Wait until nothing runs or waits."""
        await self._empty.wait()

    def _check_room(self, count: int) -> None:
        if count > self._slots.size + self._slots.max_waiting:
            raise InvalidRequestError(
                f"This request asks for {count} sequences; this worker takes at most "
                f"{self._slots.size + self._slots.max_waiting} at a time."
            )
        if not self._slots.has_room(count):
            raise OverloadedError("This worker's queue is full. Try again shortly.", retry_after=RETRY_AFTER)

    def _enter(self, ticket: Ticket) -> None:
        self._direct += ticket.party.direct
        self._empty.clear()
        if self._slots.enter(ticket):
            self._start(ticket)
        self._changed()

    def _leave(self, ticket: Ticket) -> None:
        before = self._slots.counts()
        following = self._slots.leave(ticket)
        if following:
            self._start(following)
        if self._slots.counts() == before and not following:
            return  # it had left already
        self._direct -= ticket.party.direct
        if self._slots.counts() == (0, 0):
            self._empty.set()
        self._changed()

    def _start(self, ticket: Ticket) -> None:
        ticket.party.started = True
        ticket.settled.set()
