"""Calls to workers of FastChat: their status, and streams relayed from them."""

import logging
from collections.abc import AsyncIterator, Mapping

import httpx
import msgspec

from baton.wire import GARBLED
from controller.fastchat_messages import WORKER_TIMEOUT, WorkerStatus, trouble_frame

log = logging.getLogger(__name__)

POLL_TIMEOUT = 5.0  # seconds, as FastChat has it
RELAY_TIMEOUT = httpx.Timeout(100.0)  # between two chunks, as FastChat has it


class OldWorkers:
    """An HTTP client for them. `headers` go with relayed requests: the worker may be one of ours."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = {"content-type": "application/json", **headers}
        self._client = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=None))

    async def poll(self, address: str) -> WorkerStatus | None:
        """What a worker says of itself; None where it does not answer in time or in kind."""
        try:
            reply = await self._client.post(f"{address}/worker_get_status", timeout=POLL_TIMEOUT)
            reply.raise_for_status()
            return msgspec.json.decode(reply.content, type=WorkerStatus)
        except (httpx.HTTPError, httpx.InvalidURL, *GARBLED) as error:
            log.info("poll of %s failed: %s", address, error or type(error).__name__)
            return None

    async def relay(self, address: str, body: bytes) -> AsyncIterator[bytes]:
        """A worker's stream as it comes; a failure is its last frame."""
        url = f"{address}/worker_generate_stream"
        try:
            async with self._client.stream(
                "POST", url, content=body, headers=self._headers, timeout=RELAY_TIMEOUT
            ) as reply:
                reply.raise_for_status()
                async for part in reply.aiter_raw():
                    yield part
        except httpx.HTTPError as error:
            log.warning("relay to %s failed: %s", address, error or type(error).__name__)
            yield trouble_frame(WORKER_TIMEOUT, "the worker failed")

    async def close(self) -> None:
        await self._client.aclose()
