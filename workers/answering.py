"""Answers a request whose jobs are made: as a stream of events, or whole. A client that leaves ends its generation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from baton.errors import BatonError
from baton.http import CLIENT_LEFT
from baton.wire import VIA_HEADER
from workers.engines.base import Engine
from workers.generation import Entry, generate
from workers.jobs import Job
from workers.race import LostError, race
from workers.worker import Worker


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be answered."""

    worker: Worker
    engine: Engine
    jobs: Sequence[Job]
    direct: bool  # not by way of an API server


def came_direct(headers: Mapping[str, str]) -> bool:
    return VIA_HEADER not in headers


class Shape(Protocol):
    """How the bytes of a streamed answer look."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    def events(self, entries: Sequence[Entry]) -> bytes:
        """The bytes for a batch of progress."""

    def end(self) -> bytes:
        """The bytes after the last choice."""

    def failed(self, error: BatonError, *, started: bool) -> bytes:
        """The bytes that tell of a failure. May raise it instead, as long as nothing was sent."""


class StreamedAnswer(Response):
    """A streamed answer. The head of the response waits for its first bytes."""

    def __init__(self, task: Task, shape: Shape) -> None:
        self.background = None  # the parent's initialiser is left out: it would announce a length
        self.status_code = 200
        self.init_headers(shape.headers)
        self._task = task
        self._shape = shape

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        output = Output(send, self.status_code, self.raw_headers)
        try:
            await race(self._run(output), gone(receive))
        except LostError:
            return
        except BatonError as error:
            await output.write(self._shape.failed(error, started=output.started))
        await output.end()

    async def _run(self, output: "Output") -> None:
        async def write(entries: list[Entry]) -> None:
            await output.write(self._shape.events(entries))

        task = self._task
        with task.worker.admission.admit(len(task.jobs), direct=task.direct) as tickets:
            await generate(task.engine, task.jobs, tickets, task.worker.admission, write)
        await output.write(self._shape.end())


class Output:
    """The response's bytes; its head goes out with the first of them."""

    def __init__(self, send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.started = False
        self._send = send
        self._head = {"type": "http.response.start", "status": status, "headers": headers}

    async def write(self, data: bytes) -> None:
        if not self.started:
            self.started = True
            await self._send(self._head)
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


async def answer_whole(
    task: Task, request: Request, add: Callable[[Sequence[Entry]], None], body: Callable[[], bytes]
) -> Response:
    """A whole answer: all progress goes to `add`, then `body` gives the bytes."""

    async def write(entries: list[Entry]) -> None:
        add(entries)

    with task.worker.admission.admit(len(task.jobs), direct=task.direct) as tickets:
        running = generate(task.engine, task.jobs, tickets, task.worker.admission, write)
        try:
            await race(running, gone(request.receive))
        except LostError:
            return Response(status_code=CLIENT_LEFT)
    return Response(body(), media_type="application/json")


async def gone(receive: Receive) -> None:
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
