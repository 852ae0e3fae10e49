"""What a worker tells the controller about itself. Pure reading of the worker's state."""

from baton import __version__
from baton.wire import Hello, Model, Status
from workers.worker import Worker


class Presence:
    """The worker's two messages, made anew from its state whenever they are asked for."""

    def __init__(self, worker: Worker, address: str, engine: str) -> None:
        self._worker = worker
        self._address = address
        self._engine = engine

    def hello(self) -> Hello:
        worker = self._worker
        loaded = worker.loaded_at > 0
        models = [
            Model(name, worker.loaded_at, engine.context_length if loaded else 0)
            for name, engine in worker.engines.items()
        ]
        notes = {key: note for engine in worker.distinct() for key, note in engine.notes.items()} if loaded else {}
        return Hello(
            address=self._address,
            models=models,
            engine=self._engine,
            slots=worker.slots,
            speed=worker.speed,
            version=__version__,
            notes=notes,
        )

    def status(self) -> Status:
        load = self._worker.admission.load()
        loaded = self._worker.loaded_at > 0
        engines = [engine.load() for engine in self._worker.distinct()] if loaded else []
        return Status(
            state=self._worker.state,
            running=load.running,
            waiting=load.waiting,
            direct=load.direct,
            kv_usage=max((engine.kv_usage for engine in engines), default=0.0),
            tokens_per_second=sum(engine.tokens_per_second for engine in engines),
        )
