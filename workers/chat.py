"""`POST /v1/chat/completions`."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from baton.http import read_request
from workers.answering import StreamedAnswer, Task, answer_whole, came_direct
from workers.choice import Reading
from workers.deltas import Stream
from workers.jobs import check_stop_strings, check_stream_options, make_jobs, make_sampling, wants_usage
from workers.parsing import parse
from workers.prompts import chat_prompt
from workers.protocol import ChatRequest
from workers.refusals import check_refused, check_tools
from workers.whole import Gathering
from workers.worker import Worker

_decoder = msgspec.json.Decoder(ChatRequest)


class ChatCompletions:
    """The route's handler."""

    def __init__(self, worker: Worker, body_limit: int) -> None:
        self._worker = worker
        self._limit = body_limit

    async def handle(self, request: Request) -> Response:
        sent = await read_request(request, self._limit)
        asked = parse(_decoder, sent)
        task, prompt_tokens = await self._task(asked, len(sent), direct=came_direct(request.headers))
        chance = self._worker.chance
        answer_id, created = f"chatcmpl-{chance.new_id()}", int(chance.now())
        if asked.stream:
            usage = wants_usage(asked)
            return StreamedAnswer(
                task, Stream(answer_id, created, asked.model, True, usage, prompt_tokens, chance.new_call_id)
            )

        gathering = Gathering(len(task.jobs))

        def body() -> bytes:
            return gathering.chat(answer_id, created, asked.model, prompt_tokens, chance.new_call_id)

        return await answer_whole(task, request, gathering.add, body)

    async def _task(self, asked: ChatRequest, size: int, *, direct: bool) -> tuple[Task, int]:
        check_refused(asked)
        check_tools(asked)
        check_stream_options(asked)
        engine = self._worker.engine(asked.model)
        with_tools = bool(asked.tools) and asked.tool_choice != "none"
        reading = Reading(
            stops=check_stop_strings(asked),
            tool_calls=with_tools,
            parallel_tool_calls=asked.parallel_tool_calls is not False,
        )
        prompt = await chat_prompt(engine, asked, with_tools, size)
        most = asked.max_completion_tokens or asked.max_tokens
        sampling = make_sampling(engine, asked, len(prompt), most, engine.context_length, self._worker.seed())
        jobs = make_jobs(asked, [prompt], [sampling], reading)
        return Task(self._worker, engine, jobs, direct), len(prompt)
