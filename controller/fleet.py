"""The controller's whole state: who is alive, who owns which record, how busy everyone is. Pure; `now` is in seconds.

It is soft: after a restart the workers' links and the API servers' watches fill it again.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from baton.wire import DEAD_AFTER, SILENT_AFTER, Hello, Protocol, Snapshot, State, Status, WorkerView
from controller.dispatch import Policy
from controller.registry import Registry, Worker

MAX_WORKERS = 20_000
CLAIM_LIFETIME = 5.0  # seconds for which an address given away counts as a request under way, unless a report comes


class FleetFullError(Exception):
    """More workers than a controller keeps."""


@dataclass(slots=True)
class Presence:
    """When a worker was last heard, and by whom its record may be changed."""

    owner: int  # the link it came by; 0 for FastChat's heartbeats
    heard: float
    lifetime: float  # seconds of silence after which it is gone; inf = only a failed poll removes it
    claims: list[float] = field(default_factory=list)  # when its address was given to a client, since its last report


class Fleet:
    """What the controller knows. `touched` is told the address of every worker whose public state changed."""

    def __init__(self, epoch: str, policy: Policy[Worker], rng: random.Random, touched: Callable[[str], None]) -> None:
        self.registry = Registry()
        self._epoch = epoch
        self._policy = policy
        self._rng = rng
        self._touched = touched
        self._presence: dict[str, Presence] = {}
        self._in_flight: dict[int, Mapping[str, int]] = {}  # watch → worker address → requests

    def hello(self, owner: int, hello: Hello, now: float, lifetime: float = DEAD_AFTER) -> None:
        """A worker describes itself. The newest owner of an address wins: a worker that comes back has a new link.

        Raises FleetFullError.
        """
        presence = self._presence.get(hello.address)
        another = presence is not None and presence.owner != owner
        if presence is None:
            if len(self._presence) >= MAX_WORKERS:
                raise FleetFullError(f"this controller keeps at most {MAX_WORKERS} workers")
            self._presence[hello.address] = Presence(owner, now, lifetime)
        else:
            presence.owner, presence.heard, presence.lifetime = owner, now, lifetime
        worker = self.registry.put(hello, now)
        if another:
            worker.status = Status()  # what its predecessor said, that it drains perhaps, does not bind it
        worker.silent = False
        worker.others = self._total_in_flight(hello.address)
        self._touched(hello.address)

    def status(self, owner: int, address: str, status: Status, now: float) -> bool:
        """A worker's report. False where the sender does not own the record: another link took the address."""
        presence, worker = self._presence.get(address), self.registry.get(address)
        if presence is None or worker is None or presence.owner != owner:
            return False
        presence.heard = now
        presence.claims.clear()
        worker.mine = 0
        if worker.status != status or worker.silent:
            worker.status, worker.silent = status, False
            self._touched(address)
        return True

    def leave(self, owner: int, address: str, now: float) -> None:
        """A link closed: its worker is gone at once, unless another link owns the address by now."""
        presence = self._presence.get(address)
        if presence is not None and presence.owner == owner:
            self._drop(address, now)

    def in_flight(self, watch: int, counts: Mapping[str, int]) -> None:
        """An API server's requests under way; an empty mapping when it is gone."""
        before = self._in_flight.pop(watch, {})
        if counts:
            self._in_flight[watch] = counts
        for address in before.keys() | counts.keys():
            worker = self.registry.get(address)
            if worker is not None and before.get(address, 0) != counts.get(address, 0):
                worker.others = self._total_in_flight(address)
                self._touched(address)

    def expire(self, now: float) -> list[str]:
        """Mark the silent, drop the dead, let old claims lapse. Returns the addresses dropped."""
        dead = []
        for address, presence in self._presence.items():
            quiet = now - presence.heard
            if quiet > presence.lifetime:
                dead.append(address)
            elif quiet > SILENT_AFTER and presence.owner:
                self._silence(address)
            self._lapse_claims(address, presence, now)
        for address in dead:
            self._drop(address, now)
        self.registry.forget(now)
        return dead

    def choose(self, model: str, now: float) -> str | None:
        """The address for one request that goes to the worker directly, counted until the worker reports again."""
        candidates = self.registry.candidates(model, Protocol.OPENAI) + self.registry.candidates(
            model, Protocol.FASTCHAT
        )
        if not candidates:
            return None
        worker = self._policy(candidates, self._rng)
        claims = self._presence[worker.address].claims
        claims.append(now)
        worker.mine = len(claims)
        return worker.address

    def owns(self, owner: int, address: str) -> bool:
        presence = self._presence.get(address)
        return presence is not None and presence.owner == owner

    def quiet(self, address: str, now: float) -> float:
        """Seconds since a worker was last heard."""
        return now - self._presence[address].heard

    def view(self, watch: int, address: str) -> WorkerView | None:
        """A worker as the API server behind `watch` should see it."""
        worker = self.registry.get(address)
        if worker is None:
            return None
        return worker.view(worker.others - self._in_flight.get(watch, {}).get(address, 0))

    def snapshot(self, watch: int) -> Snapshot:
        views = [self.view(watch, worker.address) for worker in self.registry.workers()]
        return Snapshot(self._epoch, [view for view in views if view is not None], self.registry.known_models())

    def set_queue_length(self, address: str, queue_length: int, now: float) -> bool:
        """A FastChat heartbeat: all that such a worker says of its load. False for a stranger."""
        return self.status(0, address, Status(state=State.READY, direct=queue_length), now)

    def _total_in_flight(self, address: str) -> int:
        return sum(counts.get(address, 0) for counts in self._in_flight.values())

    def _silence(self, address: str) -> None:
        worker = self.registry.get(address)
        if worker is not None and not worker.silent:
            worker.silent = True
            self._touched(address)

    def _lapse_claims(self, address: str, presence: Presence, now: float) -> None:
        if presence.claims and now - presence.claims[0] > CLAIM_LIFETIME:
            presence.claims = [claim for claim in presence.claims if now - claim <= CLAIM_LIFETIME]
            worker = self.registry.get(address)
            if worker is not None:
                worker.mine = len(presence.claims)

    def _drop(self, address: str, now: float) -> None:
        if self._presence.pop(address, None) is not None:
            self.registry.remove(address, now)
            self._touched(address)
