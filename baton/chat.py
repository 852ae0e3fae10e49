"""Talk to a fleet through its OpenAI address, as any client would: what `baton chat` does."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import httpx


class ChatError(Exception):
    """The server gave no answer. The text is the server's own, or says how to reach one."""


@dataclass(frozen=True, slots=True)
class Server:
    """An OpenAI-compatible address."""

    url: str
    key: str = ""

    def models(self) -> list[str]:
        """The models that it has now. Raises ChatError."""
        try:
            with self._client() as client:
                return [card["id"] for card in _checked(client.get("/v1/models")).json()["data"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise ChatError(f"no OpenAI server answers at {self.url} ({error}); start one with `baton up`") from error

    def ready(self) -> str:
        """Empty once a model can answer, else why not yet."""
        try:
            with self._client() as client:
                reply = client.get("/ready", timeout=2)
            return "" if reply.is_success else str(reply.json()["error"]["message"])
        except (httpx.HTTPError, ValueError, KeyError):
            return "the API server does not answer yet."

    def ask(self, model: str, messages: list[dict[str, str]]) -> Iterator[str]:
        """The pieces of the model's answer, as they come. Raises ChatError."""
        body = {"model": model, "messages": messages, "stream": True}
        try:
            with self._client() as client, client.stream("POST", "/v1/chat/completions", json=body) as reply:
                if not reply.is_success:
                    reply.read()
                yield from _pieces(_checked(reply))
        except httpx.HTTPError as error:
            raise ChatError(f"no answer from {self.url}: {error}") from error

    def _client(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=600, trust_env=False)


def _pieces(reply: httpx.Response) -> Iterator[str]:
    for line in reply.iter_lines():
        data = line.removeprefix("data: ")
        if not line or data == "[DONE]":
            continue
        event = json.loads(data)
        if "error" in event:
            raise ChatError(event["error"]["message"])
        for choice in event["choices"]:
            yield choice["delta"].get("content") or ""


def _checked(reply: httpx.Response) -> httpx.Response:
    if reply.is_success:
        return reply
    try:
        message = reply.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = reply.text[:300]
    raise ChatError(f"{reply.status_code}: {message}")
