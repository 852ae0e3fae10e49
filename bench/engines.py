"""How much batching brings: tokens per second of the Hugging Face engine, one request at a time and many at once.

Run it as `make bench`, or `python -m bench.engines`. Both figures of a ratio come from one run on one machine.
"""

import asyncio
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from tqdm import tqdm  # type: ignore[import-untyped]

from bench.models import make_tenth_of_a_billion
from bench.stock import Stock
from workers.engines.base import Sampling
from workers.engines.hf.engine import HfEngine
from workers.engines.hf.settings import HfSettings

DEMO = Path("demo/model")
PROMPT_TOKENS, NEW_TOKENS = 32, 64
CONCURRENT = (1, 8, 32)
RUNS = 3  # the median counts
ALONE_REQUESTS = 4  # one after the other: enough to measure, not as many as make everybody wait


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    concurrent: int
    rates: list[float]  # tokens per second of each run

    @property
    def median(self) -> float:
        return statistics.median(self.rates)


async def tokens_per_second(engine: HfEngine, rounds: int, concurrent: int) -> float:
    """So many rounds, one after the other, of so many requests at once."""
    prompts = random_prompts(concurrent, engine.tokenizer.size)
    started = time.perf_counter()
    for _ in range(rounds):
        async with asyncio.TaskGroup() as group:
            for prompt in prompts:
                group.create_task(answer(engine, prompt))
    return rounds * concurrent * NEW_TOKENS / (time.perf_counter() - started)


async def answer(engine: HfEngine, prompt: Sequence[int]) -> None:
    """One request, read to its end."""
    sampling = Sampling(max_tokens=NEW_TOKENS, temperature=0.0, ignore_eos=True)
    count = 0
    async for _ in engine.generate(prompt, sampling):
        count += 1
    if count != NEW_TOKENS:
        raise RuntimeError(f"{count} tokens came instead of {NEW_TOKENS}")


def random_prompts(count: int, vocabulary: int) -> list[list[int]]:
    """The same prompts in each run."""
    rng = random.Random(0)
    return [[rng.randrange(vocabulary) for _ in range(PROMPT_TOKENS)] for _ in range(count)]


def stock_tokens_per_second(stock: Stock, prompts: Sequence[Sequence[int]]) -> float:
    """transformers' own `generate`, prompt after prompt."""
    started = time.perf_counter()
    for prompt in prompts:
        stock.answer(prompt, NEW_TOKENS)
    return len(prompts) * NEW_TOKENS / (time.perf_counter() - started)


async def measure(folder: Path) -> list[Row]:
    """All rows of one model. The kinds of run take turns, so that a busy neighbour hits them alike."""
    stock, engine = Stock(folder), HfEngine(HfSettings(str(folder), device="cpu"))
    await engine.start()
    alone, plain = Row("one at a time", 1, []), Row("transformers", 1, [])
    together = [Row("batched", count, []) for count in CONCURRENT]
    prompts = random_prompts(ALONE_REQUESTS, engine.tokenizer.size)
    with tqdm(total=RUNS * (2 + len(together)) + 1, desc=folder.name, unit="run", file=sys.stderr) as bar:
        await tokens_per_second(engine, 1, 2)  # the first steps of a process are slower
        bar.update()
        for _ in range(RUNS):
            plain.rates.append(stock_tokens_per_second(stock, prompts[:1]))
            bar.update()
            alone.rates.append(await tokens_per_second(engine, ALONE_REQUESTS, 1))
            bar.update()
            for row in together:
                row.rates.append(await tokens_per_second(engine, 1, row.concurrent))
                bar.update()
    notes = engine.notes
    await engine.stop()
    print(f"\n{folder.name}: {notes['model_type']}, {notes['dtype']} on {notes['device']}, path: {notes['path']}")
    return [alone, *together, plain]


def show(rows: Sequence[Row]) -> None:
    """The table of one model."""
    alone = rows[0].median
    print(f"  {'':<14} {'at once':>8} {'tokens/s':>10} {'ratio':>7}   each run")
    for row in rows:
        runs = " ".join(f"{rate:.0f}" for rate in row.rates)
        print(f"  {row.name:<14} {row.concurrent:>8} {row.median:>10.0f} {row.median / alone:>6.1f}x   {runs}")


def machine() -> str:
    """What the figures were measured on."""
    versions = (
        f"Python {platform.python_version()}, PyTorch {torch.__version__}, transformers {transformers.__version__}"
    )
    return f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; {versions}"


def processor() -> str:
    """The processor's name where the system tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@contextmanager
def models() -> Iterator[list[Path]]:
    """The folders of the models to measure."""
    with tempfile.TemporaryDirectory(prefix="baton-bench-") as folder:
        made = Path(folder) / "random-0.1B"
        make_tenth_of_a_billion(made)
        yield [made, *([DEMO] if (DEMO / "config.json").is_file() else [])]


def main() -> None:
    """Measure and print."""
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    print(machine())
    print(f"greedy, {PROMPT_TOKENS} prompt tokens, {NEW_TOKENS} new ones, median of {RUNS} runs")
    with models() as folders:
        for folder in folders:
            show(asyncio.run(measure(folder)))
    print("\nratio: to the engine one at a time. transformers: its own generate(), one request")


if __name__ == "__main__":
    main()
