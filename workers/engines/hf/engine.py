"""Language models through Hugging Face transformers, many requests per forward pass."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from collections.abc import Sequence as Items
from functools import partial

from baton.background import fail_process
from workers.engines.base import EngineError, EngineLoad, Sampling, SamplingDefaults, Token, UnusableInputError
from workers.engines.hf.batch import Batch
from workers.engines.hf.loader import Loaded, load
from workers.engines.hf.path import BATCHED
from workers.engines.hf.rate import Rate
from workers.engines.hf.runner import Event, Runner, release_memory
from workers.engines.hf.sequence import Sequence
from workers.engines.hf.settings import HfSettings
from workers.engines.hf.thread import on_own_thread
from workers.engines.hf.tokenizer import HfTokenizer

log = logging.getLogger(__name__)

STOP_SECONDS = 60.0  # a step on a slow machine takes a few seconds; a thread that takes longer is left behind


class HfEngine:
    """One model; see `workers.engines.base.Engine` for what the methods promise."""

    def __init__(self, settings: HfSettings, on_death: Callable[[], None] = fail_process) -> None:
        """`on_death` is called, on the compute thread, when the engine can compute no more."""
        self._settings = settings
        self._on_death = on_death
        self._seeds = random.Random(settings.seed)
        self._rate = Rate()
        self._loaded: Loaded | None = None
        self._runner: Runner | None = None
        self._stopped = False

    @property
    def tokenizer(self) -> HfTokenizer:
        return self._model().tokenizer

    @property
    def context_length(self) -> int:
        return self._model().context

    @property
    def defaults(self) -> SamplingDefaults:
        return self._model().defaults

    @property
    def notes(self) -> Mapping[str, str]:
        return self._model().notes

    async def start(self) -> None:
        """See Engine."""
        if self._loaded is not None or self._stopped:
            raise EngineError("an engine can be started once")
        loaded, forward, shares = await on_own_thread(partial(load, self._settings))
        if self._stopped:
            raise EngineError("the engine was stopped while it loaded the model")
        level = logging.INFO if loaded.notes["path"] == BATCHED else logging.WARNING
        log.log(level, "%s: %s", self._settings.model_path, ", ".join(f"{k} {v}" for k, v in loaded.notes.items()))
        self._loaded = loaded
        self._runner = Runner(
            forward,
            Batch(self._settings.slots, shares),
            partial(self._publish, asyncio.get_running_loop()),
            self._on_death,
        )
        self._runner.start()

    async def generate(self, prompt: Items[int], sampling: Sampling) -> AsyncGenerator[Token, None]:
        """See Engine."""
        model, runner = self._model(), self._runner
        if runner is None:
            raise EngineError("the engine has been stopped")
        events: asyncio.Queue[Token | EngineError] = asyncio.Queue()
        sequence = self._sequence(model, prompt, sampling, events)
        runner.submit(sequence)
        try:
            while True:
                event = await events.get()
                if isinstance(event, EngineError):
                    raise event
                yield event
                if event.finish is not None:
                    return
        finally:
            runner.abort(sequence)

    def load(self) -> EngineLoad:
        """See Engine."""
        if self._runner is None or self._loaded is None:
            return EngineLoad()
        return EngineLoad(
            running=self._runner.running,
            waiting=self._runner.waiting,
            kv_usage=self._runner.held / (self._settings.slots * self._loaded.context),
            tokens_per_second=self._rate.per_second(time.monotonic()),
        )

    async def stop(self) -> None:
        """See Engine."""
        self._stopped = True
        runner, self._runner = self._runner, None
        if runner is not None and not await asyncio.to_thread(runner.stop, STOP_SECONDS):
            log.warning("the compute thread did not end within %.0f s; it is left behind", STOP_SECONDS)
        release_memory()

    def _model(self) -> Loaded:
        if self._loaded is None:
            raise EngineError("the engine is not running")
        return self._loaded

    def _sequence(
        self, model: Loaded, prompt: Items[int], sampling: Sampling, events: "asyncio.Queue[Token | EngineError]"
    ) -> Sequence:
        check_prompt(prompt, model.vocabulary, model.context)
        return Sequence(
            prompt=prompt,
            sampling=sampling,
            seed=self._seeds.getrandbits(63) if sampling.seed is None else sampling.seed,
            ends=sampling.stop_token_ids | (frozenset() if sampling.ignore_eos else model.eos),
            room=model.context,
            deliver=events.put_nowait,
        )

    def _publish(self, loop: asyncio.AbstractEventLoop, events: list[Event]) -> None:
        """Called on the compute thread: hand a step's results to the loop in one go."""
        if events:
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody is left to listen
                loop.call_soon_threadsafe(self._deliver, events)

    def _deliver(self, events: list[Event]) -> None:
        self._rate.add(time.monotonic(), sum(isinstance(event, Token) for _, event in events))
        for sequence, event in events:
            sequence.deliver(event)


def check_prompt(prompt: Items[int], vocabulary: int, context: int) -> None:
    """Refuse what no step could compute: on a GPU an id out of range would break the device for everyone."""
    if not prompt:
        raise UnusableInputError("the prompt is empty: send at least one token")
    if len(prompt) >= context:
        raise UnusableInputError(f"the prompt has {len(prompt)} tokens; a context of {context} leaves no room for more")
    if min(prompt) < 0 or max(prompt) >= vocabulary:
        raise UnusableInputError(f"the prompt has a token id outside the model's vocabulary of {vocabulary}")
