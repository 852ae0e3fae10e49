"""The compute thread: step after step while there is work, asleep while there is none."""

import logging
import threading
from collections.abc import Callable
from collections.abc import Sequence as Items
from typing import TypeAlias

import torch

from workers.engines.base import EngineError, Token
from workers.engines.hf.batch import Batch, Work
from workers.engines.hf.forward import Forward
from workers.engines.hf.sampler import choose
from workers.engines.hf.sequence import Sequence

log = logging.getLogger(__name__)

# Steps in a row that brought failures only, after which the device counts as lost: a worker that fails every request
# at once would look idle, and draw all of them.
DEADLY_FAILURES = 8

Event: TypeAlias = "tuple[Sequence, Token | EngineError]"
Result: TypeAlias = "tuple[Sequence, int | EngineError]"  # the next token's id


class Runner:
    """Owns the batch and the model's memory. Its methods may be called from any thread; only `stop` waits."""

    def __init__(
        self,
        forward: Forward,
        batch: Batch,
        publish: Callable[[list[Event]], None],
        on_death: Callable[[], None],
    ) -> None:
        """Both are called on the compute thread: `publish` once per step, with what the step brought; `on_death` when
        no step can be computed any more, because the device is lost, say."""
        self._forward, self._batch, self._publish, self._on_death = forward, batch, publish, on_death
        self._failures = 0  # steps in a row that brought nothing but failures
        self._changed = threading.Condition()
        self._submitted: list[Sequence] = []
        self._aborted: list[Sequence] = []
        self._stopping = False
        self._held = 0
        self._thread = threading.Thread(target=self._run, name="hf-engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, sequence: Sequence) -> None:
        """Let a sequence in before the next step, or queue it."""
        with self._changed:
            if self._stopping:
                raise EngineError("the engine has been stopped")
            self._submitted.append(sequence)
            self._changed.notify()

    def abort(self, sequence: Sequence) -> None:
        """Forget a sequence before the next step; no matter whether it has ended."""
        with self._changed:
            self._aborted.append(sequence)
            self._changed.notify()

    def stop(self, timeout: float) -> bool:
        """End everything after the step in progress; blocks until the thread ended. False: it did not in time."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def running(self) -> int:
        return len(self._batch.rows)

    @property
    def waiting(self) -> int:
        return len(self._batch.waiting) + len(self._submitted)

    @property
    def held(self) -> int:
        """Tokens whose keys and values are held, as of the last step."""
        return self._held

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                self._steps()
        except Exception:
            log.exception("the compute thread failed")
        with self._changed:
            told, self._stopping = self._stopping, True  # whoever comes now is refused
        try:
            self._drop_all("the engine is stopping")
        except Exception:
            log.exception("clearing up failed")
        if not told:
            log.critical("the engine can compute no more")
            self._on_death()

    def _steps(self) -> None:
        """Step until told to stop, or until the device counts as lost."""
        while self._failures < DEADLY_FAILURES and self._wait():
            try:
                self._take_orders()
                self._publish(self._step())
            except Exception:  # the thread's outermost loop: it must outlive any mistake in a step
                log.exception("the engine's bookkeeping failed; all its generations end")
                self._failures += 1
                self._drop_all("the engine failed; the worker's log says why")

    def _wait(self) -> bool:
        """Sleep while there is nothing to do. False: stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._submitted or self._aborted or self._batch.busy)
            return not self._stopping

    def _take_orders(self) -> None:
        """Carry out what was asked for since the last step."""
        with self._changed:
            aborted, self._aborted = self._aborted, []
            self._batch.waiting.extend(self._submitted)
            self._submitted = []
        for sequence in aborted:
            self._remove(sequence)

    def _step(self) -> list[Event]:
        events: list[Event] = []
        for sequence, result in self._attempt(self._batch.plan()):
            event = result if isinstance(result, EngineError) else sequence.add(result)
            events.append((sequence, event))
            if isinstance(event, EngineError) or event.finish is not None:
                self._remove(sequence)
        self._held = self._batch.tokens()
        if events:
            failed = all(isinstance(event, EngineError) for _, event in events)
            self._failures = self._failures + 1 if failed else 0
        return events

    def _attempt(self, works: Items[Work]) -> list[Result]:
        """Compute these parts of a step. Where that fails, halve them until the ones at fault are found."""
        if not works:
            return []
        try:
            return self._compute(works)
        except Exception as error:  # whatever a model raises ends the requests concerned, not the engine
            reason = EngineError(f"the model failed on this request: {type(error).__name__}: {first_line(error)}")
            if len(works) == 1:
                log.warning("a generation failed", exc_info=error)
                return [(works[0].sequence, reason)]
        release_memory()  # only here: the exception, gone now, kept the failed step's tensors alive
        half = len(works) // 2
        return self._attempt(works[:half]) + self._attempt(works[half:])

    def _compute(self, works: Items[Work]) -> list[Result]:
        logits = self._forward.forward([work.chunk for work in works])
        wanted = [work.sequence for work in works if work.chunk.wanted]
        tokens = choose(logits, wanted) if wanted else []
        for work in works:
            work.sequence.done = work.chunk.end
        return list(zip(wanted, tokens, strict=True))

    def _remove(self, sequence: Sequence) -> None:
        rows = self._batch.remove(sequence)
        if rows is not None:
            self._forward.remove(*rows)
        self._held = self._batch.tokens()

    def _drop_all(self, why: str) -> None:
        with self._changed:
            dropped = [*self._batch.rows, *self._batch.waiting, *self._submitted]
            self._submitted = []
            self._batch.clear()
        self._held = 0
        self._publish([(sequence, EngineError(why)) for sequence in dropped])
        self._forward.clear()


def first_line(error: Exception) -> str:
    """The first line of an exception's text; some texts are pages."""
    return (str(error).strip().splitlines() or ["no reason given"])[0]


def release_memory() -> None:
    """Give cached GPU memory back, for a retry after an allocation failed."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
