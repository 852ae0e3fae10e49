"""Runs the choices of one request side by side and hands on what they make, in batches."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias

from baton.errors import BatonError, InternalError, InvalidRequestError
from workers.admission import Admission, Ticket
from workers.choice import Choice, Progress
from workers.engines.base import Engine, EngineError, UnusableInputError
from workers.jobs import Job

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """Progress of one choice."""

    index: int
    progress: Progress


Write: TypeAlias = Callable[[list[Entry]], Awaitable[None]]


class Mailbox:
    """Where choices leave their progress for the one reader. Bounded by the tokens that the choices may make."""

    __slots__ = ("_entries", "_error", "_filled")

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._error: BatonError | None = None
        self._filled = asyncio.Event()

    def put(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._filled.set()

    def fail(self, error: BatonError) -> None:
        self._error = error
        self._filled.set()

    async def take(self) -> list[Entry]:
        """All that is there, at least one entry. Raises the error of a choice that failed, after what came before."""
        await self._filled.wait()
        entries, self._entries = self._entries, []
        if not entries and self._error:
            raise self._error
        if not self._error:
            self._filled.clear()
        return entries


async def generate(
    engine: Engine, jobs: Sequence[Job], tickets: Sequence[Ticket], admission: Admission, write: Write
) -> None:
    """Run every job in its turn; `write` gets whatever is ready. Raises the BatonError of the first that fails."""
    mailbox = Mailbox()
    tasks = [
        asyncio.create_task(_run(engine, job, ticket, admission, mailbox))
        for job, ticket in zip(jobs, tickets, strict=True)
    ]
    left = len(jobs)
    try:
        while left:
            entries = await mailbox.take()
            left -= sum(entry.progress.finish is not None for entry in entries)
            await write(entries)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(engine: Engine, job: Job, ticket: Ticket, admission: Admission, mailbox: Mailbox) -> None:
    try:
        async with admission.turn(ticket):
            await _read(engine, job, mailbox)
    except BatonError as error:
        mailbox.fail(error)
    except UnusableInputError as error:
        mailbox.fail(InvalidRequestError(str(error)))
    except EngineError as error:
        log.warning("a generation failed: %s", error)  # its text is for the operator, not for the client
        mailbox.fail(InternalError("The generation failed on this worker."))
    except Exception:
        log.exception("a generation failed by a fault in the engine")
        mailbox.fail(InternalError("The generation failed on this worker."))


async def _read(engine: Engine, job: Job, mailbox: Mailbox) -> None:
    choice = Choice(engine.tokenizer.decode, job.reading)
    async with aclosing(engine.generate(job.prompt, job.sampling)) as tokens:
        async for token in tokens:
            progress = choice.push(token)
            if progress:
                mailbox.put(Entry(job.index, progress))
                if progress.finish:
                    return
    raise EngineError("the engine ended a generation without a reason")
