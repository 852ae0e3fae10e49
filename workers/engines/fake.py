"""An engine without a model: its text is a function of prompt, seed and position, so that anyone can compute it.

Speed is per stream: with `tokens_per_second`, one ticker steps all running sequences together, as a real batch does.
"""

import asyncio
import json
import random
import time
import zlib
from array import array
from collections.abc import AsyncGenerator, Mapping, Sequence

from workers.engines.base import (
    EngineError,
    EngineLoad,
    FinishReason,
    Json,
    Sampling,
    SamplingDefaults,
    Token,
    UnusableInputError,
)
from workers.settings import FakeWorkerSettings

END = 256  # the end-of-text id; ids below it are bytes, those above are words
TEXT = (
    "the baton goes from hand to hand and no runner stops while a river of small words keeps time with every step "
    "so that each listener hears one steady voice even when another pair of lungs has taken over in the dark"
)
WORDS = tuple(TEXT.split())
VOCABULARY = END + 1 + len(WORDS)
ECHO = "repeat after me: "  # a last message that begins so is answered by what follows, byte by byte
BURST = 16  # tokens between two turns of the event loop, where there is no speed limit


class FakeTokenizer:
    """Bytes in, words out."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        parts = (bytes((token,)) if token < END else _word(token).encode() for token in ids if token != END)
        return b"".join(parts).decode(errors="replace")

    def render_chat(
        self, messages: Sequence[Mapping[str, Json]], tools: Sequence[Mapping[str, Json]] | None
    ) -> list[int]:
        """`<role>content` per line, tools first; the last line opens the assistant's turn."""
        lines = [f"<tools>{json.dumps(tools)}"] if tools else []
        for message in messages:
            calls = message.get("tool_calls")
            lines.append(f"<{message['role']}>{message['content']}" + (json.dumps(calls) if calls else ""))
        return self.encode("\n".join((*lines, "<assistant>")))


def _word(token: int) -> str:
    return WORDS[token - END - 1] + " "


class Answer:
    """The answer to a prompt, by position. A function of its arguments alone."""

    __slots__ = ("_echo", "_key", "_length", "_sampling")

    def __init__(self, prompt: Sequence[int], sampling: Sampling, reply_tokens: int) -> None:
        prompt = prompt[: len(prompt) - sampling.resumed]
        self._echo = _echo(bytes(token for token in prompt if token < END))
        self._key = zlib.crc32(array("I", prompt), zlib.crc32(str(sampling.seed).encode()))
        self._length = reply_tokens if self._echo is None else len(self._echo) + 1
        self._sampling = sampling

    def token(self, position: int) -> Token:
        """The token at a position of the output, counted from the answer's beginning."""
        sampling, count = self._sampling, position + 1
        may_end = count > sampling.min_tokens
        if count >= self._length and may_end and not sampling.ignore_eos:
            return Token(END, FinishReason.STOP)
        token = self._text(position)
        if token in sampling.stop_token_ids and may_end:
            return Token(token, FinishReason.STOP)
        return Token(token, FinishReason.LENGTH if count >= sampling.max_tokens else None)

    def whole(self) -> list[Token]:
        """All tokens up to the last: what a client must get, for tests to compare with."""
        tokens = [self.token(0)]
        while tokens[-1].finish is None:
            tokens.append(self.token(len(tokens)))
        return tokens

    def _text(self, position: int) -> int:
        if self._echo is not None and position < len(self._echo):
            return self._echo[position]
        return END + 1 + zlib.crc32(position.to_bytes(4), self._key) % len(WORDS)


def _echo(prompt: bytes) -> bytes | None:
    last = prompt.removesuffix(b"\n<assistant>").rpartition(b"<user>")[2]
    return last[len(ECHO) :] if last.startswith(ECHO.encode()) else None


class Ticker:
    """Steps all paced sequences together; runs only while there are any."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._waiting: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def step(self) -> None:
        """Wait for the next step."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append(future)
        if self._timer is None:
            self._timer = loop.call_later(self._interval, self._tick, loop, loop.time() + self._interval)
        await future

    def _tick(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        waiting, self._waiting = self._waiting, []
        self._timer = None
        for future in waiting:
            if not future.done():
                future.set_result(None)
        if waiting:  # the next step keeps the beat, whatever this one took
            following = max(due + self._interval, loop.time())
            self._timer = loop.call_at(following, self._tick, loop, following)


class FakeEngine:
    """See the head of this file."""

    def __init__(self, settings: FakeWorkerSettings) -> None:
        self.tokenizer = FakeTokenizer()
        self.context_length = settings.context_length
        self.defaults = SamplingDefaults()
        self.notes: Mapping[str, str] = {"device": "none", "text": "made up"}
        self._settings = settings
        self._ticker = Ticker(1 / settings.tokens_per_second) if settings.tokens_per_second else None
        self._failures = random.Random(settings.seed)
        self._running = 0
        self._rate = Rate()
        self._stopped = False

    async def start(self) -> None:
        await asyncio.sleep(self._settings.load_seconds)
        if self._settings.fail_load:
            raise EngineError("the fake engine was told to fail: leave out --fail-load")

    async def generate(self, prompt: Sequence[int], sampling: Sampling) -> AsyncGenerator[Token, None]:
        if any(not 0 <= token < VOCABULARY for token in prompt):
            raise UnusableInputError(f"The prompt holds a token id outside the vocabulary of {VOCABULARY}.")
        fails_at = self._settings.fail_after if self._failures.random() < self._settings.fail_rate else -1
        answer = Answer(prompt, sampling, self._settings.reply_tokens)
        self._running += 1
        try:
            await self._prefill(len(prompt))
            for position in range(sampling.resumed, sampling.max_tokens):
                await self._pace(position)
                if position == fails_at:
                    raise EngineError(f"the fake engine was told to fail after {fails_at} tokens")
                token = answer.token(position)
                self._rate.count(time.monotonic())
                yield token
                if token.finish:
                    return
        finally:
            self._running -= 1

    def load(self) -> EngineLoad:
        return EngineLoad(running=self._running, tokens_per_second=self._rate.per_second(time.monotonic()))

    async def stop(self) -> None:
        self._stopped = True

    async def _prefill(self, tokens: int) -> None:
        if self._settings.prefill_ms_per_token:
            await asyncio.sleep(tokens * self._settings.prefill_ms_per_token / 1000)

    async def _pace(self, position: int) -> None:
        if self._ticker:
            await self._ticker.step()
        elif position % BURST == 0:
            await asyncio.sleep(0)
        if self._stopped:
            raise EngineError("the engine was stopped")


class Rate:
    """Tokens per second, over the last whole second."""

    __slots__ = ("_before", "_now", "_second")

    def __init__(self) -> None:
        self._second = self._now = self._before = 0

    def count(self, now: float) -> None:
        self._turn(int(now))
        self._now += 1

    def per_second(self, now: float) -> float:
        self._turn(int(now))
        return float(self._before)

    def _turn(self, second: int) -> None:
        if second != self._second:
            self._before = self._now if second == self._second + 1 else 0
            self._second, self._now = second, 0
