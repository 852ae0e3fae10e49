"""The API server's copy of the registry, and its choice of a worker. Pure; `now` is in seconds.

Choosing costs no hop, and goes on from the last known state while the controller is away.
"""

import random
from collections.abc import Collection, Iterator

from baton.errors import ModelNotFoundError, NoWorkerError
from baton.wire import Changed, Gone, Model, Protocol, Snapshot, State, ToApiServer, WorkerView
from controller.dispatch import Policy
from controller.registry import Registry, Worker

UNCONFIRMED_FOR = 5.0  # seconds that workers stay which a new controller has not heard of yet
SUSPECT_FOR = 1.0  # seconds without new work after a failed connection, unless nobody else serves the model
RETRY_AFTER = 2  # seconds; told to clients while a model has no worker


class Replica:
    """The workers as the controller tells of them, with this server's own requests counted on top."""

    def __init__(self, policy: Policy[Worker], rng: random.Random) -> None:
        self.registry = Registry()
        self.informed = False  # whether a controller was ever heard
        self._policy = policy
        self._rng = rng
        self._epoch = ""
        self._unconfirmed: dict[str, float] = {}  # address → when it is dropped
        self._suspects: dict[str, float] = {}  # address → until when
        self._away: dict[str, Worker] = {}  # gone while requests are under way there; the counts outlive a lost link

    def apply(self, message: ToApiServer, now: float) -> None:
        """Take one message of the watch."""
        match message:
            case Snapshot():
                self._take_snapshot(message, now)
            case Changed(worker=view):
                self._put(view, now)
            case Gone(address=address):
                self._remove(address, now)

    def expire(self, now: float) -> None:
        """Drop the workers that a new controller never heard of."""
        for address in [address for address, until in self._unconfirmed.items() if now > until]:
            self._remove(address, now)
        self._away = {address: worker for address, worker in self._away.items() if worker.mine}
        self.registry.forget(now)

    def choose(self, model: str, tried: Collection[Worker], now: float) -> Worker:
        """A worker for one request. Raises ModelNotFoundError, NoWorkerError."""
        candidates = self.registry.candidates(model)
        if tried:
            candidates = [worker for worker in candidates if worker not in tried]
        if self._suspects:
            candidates = self._without_suspects(candidates, now)
        if candidates:
            return self._policy(candidates, self._rng)
        if self.registry.knows(model) or not self.informed:
            raise NoWorkerError(
                f"No worker can serve the model {model!r} right now; try again.", retry_after=RETRY_AFTER
            )
        models = ", ".join(self.registry.models()) or "no model yet"
        raise ModelNotFoundError(f"The model {model!r} does not exist. This server has: {models}.", param="model")

    def suspect(self, worker: Worker, now: float) -> None:
        """A connection to this worker failed: prefer others for a moment."""
        self._suspects[worker.address] = now + SUSPECT_FOR

    def in_flight(self) -> dict[str, int]:
        """This server's requests under way, by worker address."""
        return {worker.address: worker.mine for worker in self.registry.workers() if worker.mine}

    def models(self) -> list[Model]:
        """The models that some worker has loaded, each as its oldest worker describes it."""
        best: dict[str, Model] = {}
        for worker in self._openai_workers():
            if worker.status.state is State.LOADING:
                continue
            for model in worker.hello.models:
                known = best.get(model.name)
                if known is None or model.created < known.created:
                    best[model.name] = model
        return sorted(best.values(), key=lambda model: model.name)

    @property
    def serves(self) -> bool:
        """Whether any worker can take work."""
        return any(worker.takes_work for worker in self._openai_workers())

    def _openai_workers(self) -> Iterator[Worker]:
        """Those that this server can send requests to: FastChat's workers speak another protocol."""
        return (worker for worker in self.registry.workers() if worker.hello.protocol is Protocol.OPENAI)

    def _take_snapshot(self, snapshot: Snapshot, now: float) -> None:
        present = {view.hello.address for view in snapshot.workers}
        absent = [worker.address for worker in self.registry.workers() if worker.address not in present]
        for view in snapshot.workers:
            self._put(view, now)
        for address in absent:
            if snapshot.epoch == self._epoch and address not in self._unconfirmed:
                self._remove(address, now)
            else:
                self._unconfirmed.setdefault(address, now + UNCONFIRMED_FOR)
        self.registry.remember(snapshot.known_models, now)
        self._epoch = snapshot.epoch
        self.informed = True

    def _put(self, view: WorkerView, now: float) -> None:
        worker = self.registry.put(view.hello, now, self._away.pop(view.hello.address, None))
        worker.status, worker.others, worker.silent = view.status, view.others, view.silent
        self._unconfirmed.pop(view.hello.address, None)

    def _remove(self, address: str, now: float) -> None:
        worker = self.registry.get(address)
        if worker is not None and worker.mine:
            self._away[address] = worker
        self.registry.remove(address, now)
        self._unconfirmed.pop(address, None)
        self._suspects.pop(address, None)

    def _without_suspects(self, candidates: list[Worker], now: float) -> list[Worker]:
        self._suspects = {address: until for address, until in self._suspects.items() if until > now}
        return [worker for worker in candidates if worker.address not in self._suspects] or candidates
