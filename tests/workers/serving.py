"""A worker with the fake engine, behind a real uvicorn on a free port, in this process."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import httpx
import uvicorn

from baton.auth import ClusterToken
from baton.serve import Server, listen
from workers.app import create_app
from workers.engines.base import Sampling, Token
from workers.engines.fake import Answer, FakeEngine, FakeTokenizer
from workers.process import make_worker
from workers.settings import FakeWorkerSettings
from workers.worker import Worker

Decoded: TypeAlias = Any  # JSON from outside, of a shape that the test checks

WAIT = 10.0  # seconds, the bound of every wait in these tests


@dataclass(frozen=True)
class Served:
    """A running worker and a client for it."""

    worker: Worker
    engine: FakeEngine
    client: httpx.AsyncClient

    @property
    def busy(self) -> int:
        """Sequences that run or wait."""
        load = self.worker.admission.load()
        return load.running + load.waiting

    async def idle(self) -> None:
        """Wait until nothing runs or waits."""
        await asyncio.wait_for(self.worker.admission.empty(), WAIT)

    async def until(self, busy: int) -> None:
        """Wait until so many sequences run or wait."""
        changed = self.worker.bell.watch()
        async with asyncio.timeout(WAIT):
            while self.busy != busy:
                changed.clear()
                await changed.wait()


@asynccontextmanager
async def serving(
    settings: FakeWorkerSettings | None = None, *, token: str = "", load: bool = True
) -> AsyncIterator[Served]:
    """Serve until the block ends."""
    settings = settings or FakeWorkerSettings(model_names=("m", "alias"))
    engine = FakeEngine(settings)
    worker = make_worker(settings, engine)
    if load:
        await worker.load()
    listener = listen(replace(settings, port=0))
    listener.listen()
    app = create_app(worker, ClusterToken(token), settings.max_body_bytes)
    server = Server(uvicorn.Config(app, http="httptools", log_config=None, lifespan="on", timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=WAIT, trust_env=False) as client:
            yield Served(worker, engine, client)
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, WAIT)


def chat(content: str = "hi", **fields: object) -> dict[str, object]:
    """The body of a chat request."""
    return {"model": "m", "messages": [{"role": "user", "content": content}], **fields}


def reference(prompt: str, sampling: Sampling) -> list[Token]:
    """What the fake engine answers to a text prompt."""
    return Answer(FakeTokenizer().encode(prompt), sampling, 64).whole()


def reference_text(prompt: str, sampling: Sampling) -> str:
    return FakeTokenizer().decode([token.id for token in reference(prompt, sampling)])


def chat_prompt(content: str) -> str:
    """How the fake engine renders a conversation of one user message."""
    return f"<user>{content}\n<assistant>"


def events(text: str) -> list[Decoded]:
    """The events of a stream; checks that it holds `data:` lines only and ends with [DONE]."""
    lines = [line for line in text.split("\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def contents(chunks: list[Decoded], index: int = 0) -> str:
    """The text of one choice of a chat stream."""
    return "".join(
        choice["delta"].get("content") or ""
        for chunk in chunks
        for choice in chunk["choices"]
        if choice["index"] == index
    )
