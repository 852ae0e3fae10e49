"""The state of one worker process: its models, where it is in its life, what it does now."""

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from baton.errors import ModelNotFoundError, NoWorkerError
from baton.wire import State
from workers.admission import Admission, Ticket
from workers.engines.base import Engine
from workers.slots import Slots

LOADING_RETRY_AFTER = 5  # seconds


@dataclass(frozen=True, slots=True)
class Chance:
    """Clock and randomness, for tests to replace."""

    now: Callable[[], float] = time.time
    new_id: Callable[[], str] = lambda: secrets.token_hex(12)
    seeds: random.Random | None = None  # where unseeded requests get their seeds; None = the engine's own choice

    def new_call_id(self) -> str:
        return f"call_{self.new_id()}"


@dataclass(slots=True)
class Bell:
    """Rings for everyone who watches the worker."""

    _watchers: list[asyncio.Event] = field(default_factory=list)

    def watch(self) -> asyncio.Event:
        event = asyncio.Event()
        self._watchers.append(event)
        return event

    def ring(self) -> None:
        for event in self._watchers:
            event.set()


class Worker:
    """Owned by the event loop; everyone else reads."""

    def __init__(self, engines: Mapping[str, Engine], slots: Slots[Ticket], chance: Chance, speed: float = 1.0) -> None:
        self.engines = engines
        self.speed = speed  # relative to a worker of speed 1
        self.chance = chance
        self.bell = Bell()
        self.slots = slots.size
        self.admission = Admission(slots, self.bell.ring)
        self.state = State.LOADING
        self.loaded_at = 0

    def distinct(self) -> list[Engine]:
        """The engines, each once: several names may stand for one."""
        return list(dict.fromkeys(self.engines.values()))

    async def load(self) -> None:
        """Start every engine. Raises EngineError."""
        for engine in self.distinct():
            await engine.start()
        self.loaded_at = int(self.chance.now())
        if self.state is State.LOADING:
            self.state = State.READY
        self.bell.ring()

    def engine(self, name: str) -> Engine:
        """The engine of a served name. Raises ModelNotFoundError, or NoWorkerError while it cannot be used."""
        engine = self.engines.get(name)
        if engine is None:
            raise ModelNotFoundError(f"The model `{name}` does not exist on this worker.", param="model")
        self.check_ready()
        return engine

    def check_ready(self) -> None:
        if self.state is State.LOADING:
            raise NoWorkerError("This worker is still loading its model.", retry_after=LOADING_RETRY_AFTER)
        if self.state is State.DRAINING:
            raise NoWorkerError("This worker is shutting down.", retry_after=1)

    def seed(self) -> int | None:
        """A seed for a request that brings none; None leaves it to the engine."""
        return self.chance.seeds.getrandbits(63) if self.chance.seeds else None

    async def drain(self, within: float) -> None:
        """Take no more work, let what runs finish, and end what is still there after `within` seconds."""
        self.state = State.DRAINING
        self.admission.refuse_waiting()
        self.bell.ring()
        try:
            await asyncio.wait_for(self.admission.empty(), within)
        except TimeoutError:
            await self.stop()

    async def stop(self) -> None:
        for engine in self.distinct():
            await engine.stop()
