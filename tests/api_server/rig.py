"""An API server on a real port in front of scripted workers, without a controller."""

import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from api_server.app import Parts, create_app
from api_server.keys import ApiKeys
from api_server.replica import Replica
from api_server.settings import ApiServerSettings
from api_server.upstream import Upstream
from api_server.watch import Watch
from baton.auth import ClusterToken
from baton.wire import Hello, Model, Snapshot, Status, WorkerView
from controller.registry import Worker
from tests.baton.running import free_port, running

CHAT = "/v1/chat/completions"
BODY = b'{"model": "m",  "messages": []}'
STREAMED = b'{"model": "m", "stream": true, "messages": []}'
JSON = {"content-type": "application/json"}
SETTINGS = ApiServerSettings(connect_timeout=0.5)


def first(candidates: Sequence[Worker], _: random.Random) -> Worker:
    """A policy that makes tests know whom a request meets: the worker that registered first."""
    return candidates[0]


@dataclass(frozen=True)
class Rig:
    """A running API server, its parts, and a client of it."""

    url: str
    http: httpx.AsyncClient
    parts: Parts

    @property
    def replica(self) -> Replica:
        return self.parts.replica

    async def chat(self, body: bytes = BODY, path: str = CHAT, **headers: str) -> httpx.Response:
        dashed = {key.replace("_", "-"): value for key, value in headers.items()}
        return await self.http.post(path, content=body, headers={**JSON, **dashed})

    def register(self, *addresses: str, model: str = "m") -> None:
        views = [WorkerView(Hello(address, [Model(model, created=7)], "fake"), Status()) for address in addresses]
        self.replica.apply(Snapshot("epoch", views, []), time.monotonic())


@asynccontextmanager
async def api_server(
    *addresses: str, settings: ApiServerSettings = SETTINGS, secret: str = "s3cret"
) -> AsyncIterator[Rig]:
    token = ClusterToken(secret)
    replica = Replica(first, random.Random(1))
    parts = Parts(
        replica=replica,
        upstream=Upstream(settings.connect_timeout, settings.idle_timeout),
        watch=Watch(f"http://127.0.0.1:{free_port()}", token, replica),
        keys=ApiKeys(settings.api_keys),
        token=token,
    )
    async with (
        running(create_app(settings, parts)) as url,
        httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client,
    ):
        rig = Rig(url, client, parts)
        rig.register(*addresses)
        yield rig
