"""A controller on a real port, and the peers that speak to it."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect

from baton.auth import ClusterToken
from baton.wire import LINK_PATH, WATCH_PATH, Hello, Model, ToApiServer, decode_to_api_server, encode
from controller.app import create_app
from controller.settings import ControllerSettings
from tests.baton.running import running


@dataclass(frozen=True)
class Controller:
    """A running controller and a client of it."""

    url: str
    http: httpx.AsyncClient
    headers: Mapping[str, str]

    async def post(self, path: str, body: object = None) -> httpx.Response:
        return await self.http.post(path, json=body)

    async def fleet(self) -> dict[str, Any]:
        picture: dict[str, Any] = (await self.http.get("/fleet")).json()
        return picture

    async def addresses(self) -> list[str]:
        return [worker["address"] for worker in (await self.fleet())["workers"]]

    def link(self) -> connect:
        """A worker's link."""
        return connect(self._ws(LINK_PATH), additional_headers=self.headers)

    def watch(self) -> connect:
        """An API server's watch."""
        return connect(self._ws(WATCH_PATH), additional_headers=self.headers)

    def _ws(self, path: str) -> str:
        return self.url.replace("http", "ws", 1) + path


@asynccontextmanager
async def controller(
    secret: str = "",
    settings: ControllerSettings = ControllerSettings(),  # noqa: B008 — frozen
) -> AsyncIterator[Controller]:
    token = ClusterToken(secret)
    app = create_app(settings, token)
    async with running(app) as url, httpx.AsyncClient(base_url=url, headers=token.headers()) as client:
        yield Controller(url, client, token.headers())


def hello(address: str, *models: str, slots: int = 4) -> Hello:
    return Hello(address, [Model(name) for name in models or ("m",)], "fake", slots=slots)


async def say(socket: ClientConnection, *messages: msgspec.Struct) -> None:
    for message in messages:
        await socket.send(encode(message).decode())


async def hear(socket: ClientConnection) -> ToApiServer:
    message: ToApiServer = decode_to_api_server(await socket.recv())
    return message


async def eventually(controller: Controller, addresses: list[str]) -> None:
    """Wait until the fleet has exactly these workers."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        if await controller.addresses() == addresses:
            return
    raise AssertionError(f"the fleet never became {addresses}")
