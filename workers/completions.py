"""`POST /v1/completions`."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from baton.http import read_request
from workers.answering import StreamedAnswer, Task, answer_whole, came_direct
from workers.choice import Reading
from workers.deltas import Stream
from workers.jobs import check_stop_strings, check_stream_options, make_jobs, make_sampling, wants_usage
from workers.parsing import parse
from workers.prompts import completion_prompts
from workers.protocol import CompletionRequest
from workers.refusals import check_refused
from workers.whole import Gathering
from workers.worker import Worker

DEFAULT_TOKENS = 16  # OpenAI's

_decoder = msgspec.json.Decoder(CompletionRequest)


class Completions:
    """The route's handler."""

    def __init__(self, worker: Worker, body_limit: int) -> None:
        self._worker = worker
        self._limit = body_limit

    async def handle(self, request: Request) -> Response:
        asked = parse(_decoder, await read_request(request, self._limit))
        task, prompt_tokens = await self._task(asked, direct=came_direct(request.headers))
        chance = self._worker.chance
        answer_id, created = f"cmpl-{chance.new_id()}", int(chance.now())
        if asked.stream:
            usage = wants_usage(asked)
            return StreamedAnswer(
                task, Stream(answer_id, created, asked.model, False, usage, prompt_tokens, chance.new_call_id)
            )

        gathering = Gathering(len(task.jobs))

        def body() -> bytes:
            return gathering.completion(answer_id, created, asked.model, prompt_tokens)

        return await answer_whole(task, request, gathering.add, body)

    async def _task(self, asked: CompletionRequest, *, direct: bool) -> tuple[Task, int]:
        check_refused(asked)
        check_stream_options(asked)
        engine = self._worker.engine(asked.model)
        reading = Reading(stops=check_stop_strings(asked))
        prompts = await completion_prompts(engine, asked)
        seed = self._worker.seed()
        samplings = [
            make_sampling(engine, asked, len(prompt), asked.max_tokens, DEFAULT_TOKENS, seed) for prompt in prompts
        ]
        jobs = make_jobs(asked, prompts, samplings, reading)
        return Task(self._worker, engine, jobs, direct), sum(map(len, prompts))
