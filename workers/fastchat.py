"""FastChat's worker routes, for its controllers, API servers and user interfaces.

There the caller renders the prompt; a failure is a frame with an `error_code` in an answer of status 200.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from baton.errors import BatonError, UnsupportedParameterError
from baton.http import read_request
from workers.answering import StreamedAnswer, Task, answer_whole, came_direct
from workers.choice import Reading
from workers.engines.base import Engine
from workers.frames import END, HEADERS, Frames, error_frame
from workers.jobs import check_stop_strings, make_jobs, make_sampling
from workers.parsing import parse
from workers.prompts import completion_prompts
from workers.protocol import MAX_STOPS, CompletionRequest, StopString, TokenId
from workers.responses import encode
from workers.worker import Worker

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

# ChatML, written in a style whose number every version of FastChat agrees on.
CONVERSATION: Mapping[str, Any] = {
    "name": "chatml",
    "system_template": "<|im_start|>system\n{system_message}",
    "system_message": "You are a helpful assistant.",
    "system_message_vision": "",
    "roles": ["<|im_start|>user", "<|im_start|>assistant"],
    "messages": [],
    "offset": 0,
    "sep_style": 6,
    "sep": "<|im_end|>\n",
    "sep2": None,
    "stop_str": "<|im_end|>",
    "stop_token_ids": None,
    "max_image_size_mb": None,
}


class Params(msgspec.Struct):
    """What FastChat's clients send; unknown keys are ignored."""

    prompt: str
    model: str = ""
    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: int | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=100)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    max_new_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop: str | Annotated[list[StopString], Meta(max_length=MAX_STOPS)] | None = None
    stop_token_ids: list[TokenId] | None = None
    echo: bool | None = None
    logprobs: Any = None
    images: Any = None


class Named(msgspec.Struct):
    model: str = ""


class Counted(msgspec.Struct):
    prompt: str
    model: str = ""


_decode_params = msgspec.json.Decoder(Params)
_decode_named = msgspec.json.Decoder(Named)
_decode_counted = msgspec.json.Decoder(Counted)


class FastChat:
    """The routes' handlers."""

    def __init__(self, worker: Worker, body_limit: int) -> None:
        self._worker = worker
        self._limit = body_limit

    def routes(self) -> dict[str, Handler]:
        """Path → handler; all are POST."""
        return {
            "/worker_generate_stream": self.stream,
            "/worker_generate": self.whole,
            "/worker_get_status": self.status,
            "/count_token": self.count,
            "/worker_get_conv_template": self.conversation,
            "/model_details": self.details,
            "/worker_get_embeddings": self.embeddings,
        }

    async def stream(self, request: Request) -> Response:
        try:
            task, frames = await self._task(request)
        except BatonError as error:
            return Response(error_frame(error) + END, headers=HEADERS)
        return StreamedAnswer(task, frames)

    async def whole(self, request: Request) -> Response:
        try:
            task, frames = await self._task(request)
            return await answer_whole(task, request, frames.add, frames.last)
        except BatonError as error:
            return _json(error_frame(error))

    async def status(self, _: Request) -> Response:
        load = self._worker.admission.load()
        names = list(self._worker.engines)
        speed = self._worker.speed
        return _json(encode({"model_names": names, "speed": speed, "queue_length": load.running + load.waiting}))

    async def count(self, request: Request) -> Response:
        try:
            asked = parse(_decode_counted, await read_request(request, self._limit))
            (ids,) = await completion_prompts(self._engine(asked.model), _completion(asked.model, asked.prompt))
        except BatonError as error:
            return _json(error_frame(error))
        return _json(encode({"count": len(ids), "error_code": 0}))

    async def conversation(self, request: Request) -> Response:
        await self._named(request)
        return _json(encode({"conv": CONVERSATION}))

    async def details(self, request: Request) -> Response:
        engine = await self._named(request)
        return _json(encode({"context_length": engine.context_length}))

    async def embeddings(self, _: Request) -> Response:
        return _json(error_frame(UnsupportedParameterError("This worker makes no embeddings.")))

    async def _named(self, request: Request) -> Engine:
        return self._engine(parse(_decode_named, await read_request(request, self._limit)).model)

    def _engine(self, name: str) -> Engine:
        """The engine of a name. Where there is one engine only, it answers to every name, as in FastChat."""
        engines = self._worker.distinct()
        if name in self._worker.engines or len(engines) > 1:
            return self._worker.engine(name)
        self._worker.check_ready()
        return engines[0]

    async def _task(self, request: Request) -> tuple[Task, Frames]:
        params = parse(_decode_params, await read_request(request, self._limit))
        for field in ("logprobs", "images"):
            if getattr(params, field):
                raise UnsupportedParameterError(f"`{field}` is not supported by this worker.", param=field)
        engine = self._engine(params.model)
        asked = _request(params)
        reading = Reading(stops=check_stop_strings(asked))
        prompts = await completion_prompts(engine, asked)
        most = params.max_new_tokens or 256
        sampling = make_sampling(engine, asked, len(prompts[0]), None, most, self._worker.seed())
        frames = Frames("" if params.echo is False else params.prompt, len(prompts[0]))
        jobs = make_jobs(asked, prompts, [sampling], reading)
        return Task(self._worker, engine, jobs, came_direct(request.headers)), frames


def _request(params: Params) -> CompletionRequest:
    """The same wish in OpenAI's words. A temperature or top_p of nearly nothing is greedy, as in FastChat."""
    greedy = (params.temperature is not None and params.temperature < 1e-5) or (
        params.top_p is not None and params.top_p < 1e-8
    )
    asked = _completion(params.model, params.prompt)
    asked.temperature = 0.0 if greedy else params.temperature
    asked.top_p = 1.0 if greedy else params.top_p
    asked.top_k = params.top_k
    asked.repetition_penalty = params.repetition_penalty
    asked.presence_penalty = params.presence_penalty
    asked.frequency_penalty = params.frequency_penalty
    asked.stop = params.stop or None
    asked.stop_token_ids = params.stop_token_ids
    return asked


def _completion(model: str, prompt: str) -> CompletionRequest:
    return CompletionRequest(model=model, prompt=prompt)


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
