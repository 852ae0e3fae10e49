"""A generation's life: how it ends, how it is given up, and what others notice of its failure."""

import asyncio
import random
import threading
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from tests.workers.engines.hf.driving import generate, greedy, ids, random_prompt, running, until
from tests.workers.engines.hf.tiny import EOS
from workers.engines.base import EngineError, EngineLoad, FinishReason, Sampling, UnusableInputError
from workers.engines.hf.engine import HfEngine
from workers.engines.hf.forward import Chunk
from workers.engines.hf.packed import PackedForward
from workers.engines.hf.runner import Event
from workers.engines.hf.settings import HfSettings
from workers.engines.hf.shelf import Shelf

PROMPT = [10, 20, 30, 40]


async def settled(engine: HfEngine) -> EngineLoad:
    """The load once nothing runs or waits."""
    await until(lambda: not (engine.load().running or engine.load().waiting))
    return engine.load()


async def test_max_tokens_ends_with_length(llama: Path) -> None:
    """Exactly so many tokens come, and only the last one says that it is."""
    async with running(llama) as engine:
        tokens = await generate(engine, PROMPT, greedy(5))
        assert [token.finish for token in tokens] == [None] * 4 + [FinishReason.LENGTH]
        assert len(await generate(engine, PROMPT, greedy(1))) == 1


async def test_an_end_id_is_delivered_and_ends(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop id of the request, and the model's own end-of-text id, come as the last token, with `stop`."""
    async with running(llama) as engine:
        free = await ids(engine, PROMPT, greedy(12))
        end = next(i for i in range(4, 12) if free[i] not in free[:i])
        stopped = await generate(engine, PROMPT, greedy(12, stop_token_ids=frozenset({free[end]})))
        assert [token.id for token in stopped] == free[: end + 1]
        assert stopped[-1].finish is FinishReason.STOP
        assert engine._loaded is not None
        monkeypatch.setattr(engine, "_loaded", replace(engine._loaded, eos=frozenset({EOS, free[end]})))
        own = await generate(engine, PROMPT, greedy(12, ignore_eos=False))
        assert own == stopped
        assert await ids(engine, PROMPT, greedy(12)) == free  # ignore_eos


async def test_min_tokens_keeps_end_ids_away(llama: Path) -> None:
    """Before `min_tokens` no end id comes; a request's own stop ids are held back with `ignore_eos`, too."""
    async with running(llama) as engine:
        free = await ids(engine, PROMPT, greedy(12))
        stops = frozenset(free[:3])
        assert len(await ids(engine, PROMPT, greedy(12, stop_token_ids=stops))) == 1
        late = await ids(engine, PROMPT, greedy(12, stop_token_ids=stops, min_tokens=6))
        assert len(late) >= 7
        assert not stops & set(late[:6])


async def test_the_context_is_the_limit(llama: Path) -> None:
    """A generation ends with `length` where the context is full, whatever it was promised."""
    async with running(llama, max_context=32) as engine:
        assert engine.context_length == 32
        tokens = await generate(engine, [1] * 28, greedy(100))
        assert len(tokens) == 4
        assert tokens[-1].finish is FinishReason.LENGTH


@pytest.mark.parametrize("prompt", [[], [1] * 256, [-1], [1, 320]])
async def test_unusable_prompts_are_refused(llama: Path, prompt: list[int]) -> None:
    """Nothing that could break a step gets into one."""
    async with running(llama) as engine:
        with pytest.raises(UnusableInputError):
            await generate(engine, prompt, greedy(3))
        assert len(await generate(engine, PROMPT, greedy(3))) == 3


@dataclass
class Held:
    """A model that stops before it computes a position from `limit` on, until released; notes what it computes."""

    limit: int
    release: threading.Event = field(default_factory=threading.Event)
    starts: list[int] = field(default_factory=list)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put it in the place of the batched path."""
        plain = PackedForward.forward

        def held(forward: PackedForward, chunks: Sequence[Chunk]) -> torch.Tensor:
            self.starts += [chunk.start for chunk in chunks]
            assert max(chunk.start for chunk in chunks) < self.limit or self.release.wait(30)
            return plain(forward, chunks)

        monkeypatch.setattr(PackedForward, "forward", held)


async def test_a_closed_generator_frees_its_row(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a generation takes its row out before the next step, and lets in who waits for it."""
    model = Held(limit=20)
    async with running(llama, slots=1) as engine:
        model.install(monkeypatch)
        async with aclosing(engine.generate(PROMPT, greedy(200))) as endless:
            await anext(endless)
            waiting = asyncio.create_task(generate(engine, [1, 2], greedy(3)))
            await until(lambda: 20 in model.starts)
            assert (engine.load().running, engine.load().waiting) == (1, 1)
        model.release.set()
        assert len(await waiting) == 3
        assert await settled(engine) == EngineLoad(tokens_per_second=engine.load().tokens_per_second)
        assert engine.load().tokens_per_second > 0
    assert max(model.starts) == 20


async def test_giving_up_during_prefill_and_in_the_queue(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled consumer frees a row whose prompt is half computed, and its place in the queue."""
    model = Held(limit=100)
    async with running(llama, slots=1, prompt_budget=10) as engine:
        model.install(monkeypatch)
        tasks = [asyncio.create_task(generate(engine, [5] * 200, greedy(9))) for _ in range(3)]
        await until(lambda: 100 in model.starts)
        load = engine.load()
        assert (load.running, load.waiting, load.kv_usage) == (1, 2, 100 / 256)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        model.release.set()
        assert (await settled(engine)).kv_usage == 0.0
        assert await ids(engine, PROMPT, greedy(3))
    assert max(model.starts) == 100


async def test_a_bad_row_fails_alone(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in a step fails the request that causes it, in prefill or later; the others notice nothing."""
    rng = random.Random(6)
    good = [random_prompt(rng, rng.randint(2, 20)) for _ in range(6)]
    async with running(llama, slots=8) as engine:
        alone = [await ids(engine, prompt, greedy(10)) for prompt in good]
        plain = PackedForward.forward

        def faulty(self: PackedForward, chunks: Sequence[Chunk]) -> torch.Tensor:
            if any(chunk.tokens[0] == 300 or chunk.end == 65 for chunk in chunks):
                raise RuntimeError("a fault\nwith details")
            return plain(self, chunks)

        monkeypatch.setattr(PackedForward, "forward", faulty)
        bad = [generate(engine, [300, 1, 2], greedy(10)), generate(engine, random_prompt(rng, 60), greedy(10))]
        results = await asyncio.gather(*[ids(engine, p, greedy(10)) for p in good], *bad, return_exceptions=True)
        assert results[:6] == alone
        for result in results[6:]:
            assert isinstance(result, EngineError)
            assert str(result) == "the model failed on this request: RuntimeError: a fault"
        assert await ids(engine, good[0], greedy(10)) == alone[0]
        assert (await settled(engine)).kv_usage == 0.0


async def test_memory_running_out_fails_who_needs_it(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cache cannot grow for a long request, shorter ones go on."""
    plain = Shelf._resize

    def small(self: Shelf, shape: tuple[int, int]) -> None:
        if shape[1] > 64:
            raise torch.OutOfMemoryError("tried to allocate more than there is")
        plain(self, shape)

    async with running(llama) as engine:
        alone = await ids(engine, PROMPT, greedy(40))
        monkeypatch.setattr(Shelf, "_resize", small)
        first, second = await asyncio.gather(
            ids(engine, PROMPT, greedy(40)), generate(engine, [1] * 50, greedy(40)), return_exceptions=True
        )
        assert first == alone
        assert isinstance(second, EngineError)


async def test_a_fault_outside_the_model_ends_the_generations_not_the_engine(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread survives a mistake in its own bookkeeping; nobody waits for ever."""
    async with running(llama, prompt_budget=10) as engine:
        with monkeypatch.context() as patch:
            patch.setattr("workers.engines.hf.batch.Batch.tokens", lambda _: 1 / 0)  # after the first piece of a prompt
            with pytest.raises(EngineError, match="the worker's log"):
                await generate(engine, [1] * 50, greedy(3))
        assert len(await generate(engine, PROMPT, greedy(3))) == 3


async def test_the_loop_goes_on_while_a_step_computes(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that takes as long as it likes holds nobody else up."""
    release = threading.Event()
    async with running(llama) as engine:
        plain = PackedForward.forward

        def slow(self: PackedForward, chunks: Sequence[Chunk]) -> torch.Tensor:
            assert release.wait(30)
            return plain(self, chunks)

        monkeypatch.setattr(PackedForward, "forward", slow)
        task = asyncio.create_task(generate(engine, PROMPT, greedy(3)))
        await asyncio.sleep(0)
        assert engine.load() is not None  # the loop is here, the step is not done
        assert not task.done()
        release.set()
        assert len(await task) == 3


async def test_stop_ends_what_runs_and_what_waits(llama: Path) -> None:
    """Stopping fails running and waiting generations with a sentence, at once, and can be repeated."""
    async with running(llama, slots=1) as engine:
        tasks = [asyncio.create_task(generate(engine, PROMPT, greedy(240))) for _ in range(3)]
        await until(lambda: engine.load().running)
        await engine.stop()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(result) for result in results] == ["the engine is stopping"] * 3
        await engine.stop()
        with pytest.raises(EngineError, match="stopped"):
            await generate(engine, PROMPT, greedy(3))
        assert engine.load() == EngineLoad()


async def test_before_start() -> None:
    """An engine that was never started can be stopped; it says that it does not run."""
    engine = HfEngine(HfSettings("nowhere"))
    with pytest.raises(EngineError, match="not running"):
        engine.tokenizer  # noqa: B018 - reading it is the test
    assert engine.load() == EngineLoad()
    await engine.stop()
    with pytest.raises(EngineError, match="once"):
        await engine.start()


async def test_results_cross_to_the_loop_once_per_step(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows a step has, the event loop is called once for all of them."""
    calls: list[int] = []
    async with running(llama, slots=8) as engine:
        plain = engine._deliver

        def counting(events: list[Event]) -> None:
            calls.append(len(events))
            plain(events)

        monkeypatch.setattr(engine, "_deliver", counting)
        await asyncio.gather(*[generate(engine, PROMPT, greedy(20)) for _ in range(8)])
    assert sum(calls) == 160
    assert max(calls) == 8
    assert len(calls) < 40


async def test_a_long_prompt_does_not_stall_the_others(llama: Path) -> None:
    """While a prompt of 200 tokens is computed 10 at a time, a running request gets a token with each piece."""
    order: list[str] = []
    async with running(llama, prompt_budget=10) as engine, aclosing(engine.generate(PROMPT, greedy(100))) as first:
        await anext(first)
        late = asyncio.create_task(generate(engine, [3] * 200, greedy(1)))
        late.add_done_callback(lambda _: order.append("prompt"))
        async for _ in first:
            order.append("token")
        await late
    assert order.index("prompt") >= 19


async def test_speech_is_unchanged_by_end_ids_in_the_prompt(llama: Path) -> None:
    """Special ids within a prompt are tokens like any other."""
    async with running(llama) as engine:
        sampling = Sampling(max_tokens=5, temperature=0.0, ignore_eos=True)
        assert len(await generate(engine, [EOS, 257, 258, EOS], sampling)) == 5
