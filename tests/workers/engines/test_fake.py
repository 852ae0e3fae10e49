import asyncio
import time
from contextlib import aclosing

import pytest

from workers.engines.base import EngineError, FinishReason, Sampling, Token
from workers.engines.fake import END, Answer, FakeEngine, FakeTokenizer
from workers.settings import FakeWorkerSettings

PROMPT = list(b"once upon a time")


async def run(engine: FakeEngine, sampling: Sampling, prompt: list[int] = PROMPT) -> list[Token]:
    return [token async for token in engine.generate(prompt, sampling)]


async def test_the_answer_is_the_reference() -> None:
    """The engine gives what anyone can compute from prompt, seed and position."""
    engine = FakeEngine(FakeWorkerSettings())
    for seed in (None, 1, 2):
        sampling = Sampling(40, seed=seed)
        assert await run(engine, sampling) == Answer(PROMPT, sampling, 64).whole()
    assert await run(engine, Sampling(9, seed=1)) != await run(engine, Sampling(9, seed=2))


async def test_ends() -> None:
    """An answer ends by itself, by length, or by a stop token, and each says so."""
    engine = FakeEngine(FakeWorkerSettings(reply_tokens=5))
    assert (await run(engine, Sampling(100)))[-1] == Token(END, FinishReason.STOP)
    assert len(await run(engine, Sampling(100))) == 5
    assert (await run(engine, Sampling(3)))[-1].finish is FinishReason.LENGTH
    assert len(await run(engine, Sampling(100, ignore_eos=True))) == 100
    assert len(await run(engine, Sampling(100, min_tokens=9))) == 10
    stop = (await run(engine, Sampling(1)))[0].id
    stopped = await run(engine, Sampling(100, stop_token_ids=frozenset((stop,))))
    assert stopped == [Token(stop, FinishReason.STOP)]


async def test_what_was_resumed_counts_as_output() -> None:
    """After a hand-over the answer goes on where it was."""
    engine = FakeEngine(FakeWorkerSettings())
    whole = await run(engine, Sampling(30, seed=4))
    kept = [token.id for token in whole[:12]]
    rest = await run(engine, Sampling(30, seed=4, resumed=12), PROMPT + kept)
    assert rest == whole[12:]


async def test_streams_keep_their_pace() -> None:
    """With a speed each stream gets its tokens at that speed, however many there are."""
    engine = FakeEngine(FakeWorkerSettings(tokens_per_second=100))
    began = time.monotonic()
    await asyncio.gather(*(run(engine, Sampling(20)) for _ in range(50)))
    assert 0.18 < time.monotonic() - began < 2


async def test_prefill_takes_its_time() -> None:
    """The first token waits for the prompt."""
    engine = FakeEngine(FakeWorkerSettings(prefill_ms_per_token=5))
    began = time.monotonic()
    await run(engine, Sampling(1))
    assert time.monotonic() - began >= 0.9 * len(PROMPT) * 0.005


async def test_failures() -> None:
    """A share of the generations fails after so many tokens, the same ones with the same seed."""
    engine = FakeEngine(FakeWorkerSettings(fail_after=2))
    got: list[Token] = []
    with pytest.raises(EngineError, match="after 2 tokens"):
        async for token in engine.generate(PROMPT, Sampling(9)):
            got.append(token)
    assert len(got) == 2
    outcomes = [await fails(FakeEngine(FakeWorkerSettings(fail_after=0, fail_rate=0.5, seed=3))) for _ in range(2)]
    assert outcomes[0] == outcomes[1]
    assert 0 < sum(outcomes[0]) < 20


async def fails(engine: FakeEngine) -> list[bool]:
    found = []
    for _ in range(20):
        try:
            await run(engine, Sampling(1))
            found.append(False)
        except EngineError:
            found.append(True)
    return found


async def test_closing_and_stopping_free_the_sequence() -> None:
    """A closed generator leaves nothing running; a stopped engine ends what runs."""
    engine = FakeEngine(FakeWorkerSettings(tokens_per_second=100))
    async with aclosing(engine.generate(PROMPT, Sampling(100))) as tokens:
        await anext(tokens)
        assert engine.load().running == 1
    assert engine.load().running == 0
    running = asyncio.create_task(run(engine, Sampling(4000, ignore_eos=True)))
    await asyncio.sleep(0)
    await engine.stop()
    await engine.stop()
    with pytest.raises(EngineError, match="stopped"):
        await asyncio.wait_for(running, 5)


def test_text_and_ids() -> None:
    """Prompts are bytes, and half a character is U+FFFD."""
    tokenizer = FakeTokenizer()
    assert tokenizer.decode(tokenizer.encode("héllo")) == "héllo"
    assert tokenizer.decode([0xC3, END]) == "\ufffd"
