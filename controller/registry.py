"""Workers by address and by model, and how busy each one is. Pure; shared by the controller and the API servers."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from baton.wire import Hello, Protocol, State, Status, WorkerView

REMEMBER = 600.0  # seconds for which a model without workers still counts as known


@dataclass(slots=True, eq=False)
class Worker:
    """One worker as the holder of a registry sees it."""

    hello: Hello
    status: Status = field(default_factory=Status)
    silent: bool = False  # gave no status lately: gets no new work
    others: int = 0  # in flight from API servers other than the holder
    mine: int = 0  # in flight from the holder

    @property
    def address(self) -> str:
        return self.hello.address

    @property
    def slots(self) -> int:
        return self.hello.slots

    @property
    def speed(self) -> float:
        return self.hello.speed

    @property
    def load(self) -> int:
        """Requests that this worker has to serve, running or waiting, whoever sent them."""
        return self.mine + self.others + self.status.direct

    @property
    def takes_work(self) -> bool:
        return self.status.state is State.READY and not self.silent

    def view(self, others: int) -> WorkerView:
        return WorkerView(self.hello, self.status, others, self.silent)


class Registry:
    """The workers, indexed by model. Every change is one call; nothing here waits."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}
        self._by_model: dict[str, dict[str, Worker]] = {}
        self._departed: dict[str, float] = {}  # model → when its last worker went

    def __len__(self) -> int:
        return len(self._workers)

    def workers(self) -> Iterable[Worker]:
        return self._workers.values()

    def get(self, address: str) -> Worker | None:
        return self._workers.get(address)

    def put(self, hello: Hello, now: float, returning: Worker | None = None) -> Worker:
        """Add a worker, or take a known one's new description; its load stays. `returning` was removed before."""
        worker = self._workers.get(hello.address)
        if worker is None:
            worker = self._workers[hello.address] = returning or Worker(hello)
        else:
            self._unindex(worker, now)
        worker.hello = hello
        for model in hello.models:
            self._by_model.setdefault(model.name, {})[hello.address] = worker
            self._departed.pop(model.name, None)
        return worker

    def remove(self, address: str, now: float) -> bool:
        """Drop a worker; False where there was none."""
        worker = self._workers.pop(address, None)
        if worker is None:
            return False
        self._unindex(worker, now)
        return True

    def remember(self, models: Iterable[str], now: float) -> None:
        """Note models that had workers before this registry began."""
        for model in models:
            if model not in self._by_model:
                self._departed.setdefault(model, now)

    def forget(self, now: float) -> None:
        """Drop models whose last worker went long ago."""
        self._departed = {model: gone for model, gone in self._departed.items() if now - gone < REMEMBER}

    def candidates(self, model: str, protocol: Protocol = Protocol.OPENAI) -> list[Worker]:
        """Workers that can take a request for `model` now."""
        serving = self._by_model.get(model)
        if not serving:
            return []
        return [w for w in serving.values() if w.takes_work and w.hello.protocol is protocol]

    def models(self) -> list[str]:
        """Names that have a worker, loading or draining ones included."""
        return sorted(self._by_model)

    def known_models(self) -> list[str]:
        """Names that have a worker or lately had one."""
        return sorted({*self._by_model, *self._departed})

    def knows(self, model: str) -> bool:
        return model in self._by_model or model in self._departed

    def _unindex(self, worker: Worker, now: float) -> None:
        for model in worker.hello.models:
            serving = self._by_model.get(model.name, {})
            serving.pop(worker.address, None)
            if not serving and self._by_model.pop(model.name, None) is not None:
                self._departed[model.name] = now
