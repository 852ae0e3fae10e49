"""Answers a request whose jobs are made: as a stream of events, or whole. A client that leaves ends its generation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from baton import sse
from baton.errors import BatonError
from baton.wire import VIA_HEADER
from workers.deltas import Stream
from workers.engines.base import Engine
from workers.generation import Entry, generate
from workers.jobs import Job
from workers.race import LostError, race
from workers.whole import Gathering
from workers.worker import Worker

STREAM_HEADERS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
CLIENT_GONE = 499  # nobody sees it; nginx made the number known


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be answered."""

    worker: Worker
    engine: Engine
    jobs: Sequence[Job]
    direct: bool  # not by way of an API server


def came_direct(headers: Mapping[str, str]) -> bool:
    return VIA_HEADER not in headers


class EventStream(Response):
    """A streamed answer. Whatever fails before the first event is an ordinary HTTP error."""

    def __init__(self, task: Task, stream: Stream) -> None:
        self.background = None  # the parent's initialiser is left out: it would announce a length
        self.status_code = 200
        self.init_headers(STREAM_HEADERS)
        self._task = task
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        output = Output(send, self.status_code, self.raw_headers)
        try:
            await race(self._run(output), gone(receive))
        except LostError:
            return
        except BatonError as error:
            if not output.started:
                raise
            await output.write(sse.event(error.body()))
        await output.end()

    async def _run(self, output: "Output") -> None:
        async def write(entries: list[Entry]) -> None:
            await output.write(self._stream.events(entries))

        task = self._task
        with task.worker.admission.admit(len(task.jobs), direct=task.direct) as tickets:
            await generate(task.engine, task.jobs, tickets, task.worker.admission, write)
        await output.write(self._stream.end())


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


async def answer_whole(task: Task, request: Request, body: Callable[[Gathering], bytes]) -> Response:
    """A whole answer, once it is there."""
    gathering = Gathering(len(task.jobs))

    async def write(entries: list[Entry]) -> None:
        gathering.add(entries)

    with task.worker.admission.admit(len(task.jobs), direct=task.direct) as tickets:
        running = generate(task.engine, task.jobs, tickets, task.worker.admission, write)
        try:
            await race(running, gone(request.receive))
        except LostError:
            return Response(status_code=CLIENT_GONE)
    return Response(body(gathering), media_type="application/json")


async def gone(receive: Receive) -> None:
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
