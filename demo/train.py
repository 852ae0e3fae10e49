"""Train the demo model on text that this package makes: `python -m demo.train --minutes 75 --out demo/model`.

The learning rate follows the clock: warm-up, constant, then linear to zero at the last minute. A checkpoint (the
running mean of the weights) is written every few minutes, and a small evaluation is printed.
"""

from __future__ import annotations

import argparse
import copy
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_model
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers import GenerationConfig, LlamaForCausalLM

from demo import batches, evaluate, structure, tokenizer
from demo.corpus import mixture

WARM_UP, CONSTANT, MEAN = 40, 0.4, 0.995


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    minutes: float
    out: Path
    start: Path | None
    rate: float
    seed: int
    threads: int
    batch_tokens: int
    save_minutes: float
    evaluate_minutes: float


class Trainer:
    """A model, its optimizer and the running mean of its weights."""

    def __init__(self, options: Options, words: Tokenizer) -> None:
        self.options, self.words = options, words
        self.end, self.pad = tokenizer.end_and_pad(words)
        self.model = structure.build(structure.config(tokenizer.VOCABULARY, self.end, self.pad))
        if options.start:
            load_model(self.model, options.start / "model.safetensors", strict=False)  # the tied weight is stored once
        self.mean = copy.deepcopy(self.model).train(False)
        matrices = [w for w in self.model.parameters() if w.dim() > 1]
        others = [w for w in self.model.parameters() if w.dim() == 1]
        groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=options.rate, betas=(0.9, 0.98), fused=True)
        self.steps = 0
        self.tokens = 0

    def step(self, batch: batches.Batch, rate: float) -> float:
        """One update; the loss per learnt token."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
            learnt = batch.learnt[:, :-1]
            logits = self.model.lm_head(hidden[:, :-1][learnt])
        loss = cross_entropy(logits.float(), batch.ids[:, 1:][learnt])
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        self.tokens += batch.tokens
        self._average()
        return loss.item()

    @torch.no_grad()
    def _average(self) -> None:
        share = min(MEAN, self.steps / (self.steps + 10))
        torch._foreach_lerp_(list(self.mean.parameters()), list(self.model.parameters()), 1 - share)

    def save(self) -> None:
        """Write the mean weights in bfloat16, with tokenizer and generation settings."""
        model: LlamaForCausalLM = copy.deepcopy(self.mean).to(torch.bfloat16)
        model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            eos_token_id=[self.end], pad_token_id=self.pad, do_sample=False
        )
        model.save_pretrained(self.options.out)
        tokenizer.packaged(self.words).save_pretrained(self.options.out)
        for path in self.options.out.iterdir():
            path.chmod(0o644)

    def evaluate(self, items: int) -> str:
        """The table of a small evaluation of the mean weights."""
        return evaluate.table(evaluate.scores(self.mean, self.words, items))


def rate_at(rate: float, share: float, steps: int) -> float:
    """The learning rate when `share` of the time is over."""
    decay = 1.0 if share < CONSTANT else max(0.0, (1 - share) / (1 - CONSTANT))
    return rate * min(1.0, (steps + 1) / WARM_UP) * decay


def practise_copying(trainer: Trainer, until: float, generator: torch.Generator) -> None:
    """The first minutes: nothing but copying, until the clock reaches `until`."""
    with tqdm(desc="copying", unit=" tokens", unit_scale=True) as bar:
        while time.monotonic() < until:
            batch = batches.copying(tokenizer.VOCABULARY, generator, 1536)
            loss = trainer.step(batch, rate_at(trainer.options.rate, 0.0, trainer.steps))
            bar.update(batch.tokens)
            bar.set_postfix(loss=f"{loss:.2f}", refresh=False)


def train(trainer: Trainer, began: float, generator: torch.Generator) -> None:
    """The main part, until the time is used up."""
    options, rng = trainer.options, random.Random(f"training {trainer.options.seed}")
    started, length = time.monotonic(), options.minutes * 60 - (time.monotonic() - began)
    next_save, next_evaluation = options.save_minutes * 60, options.evaluate_minutes * 60
    steady = 0.0
    with tqdm(desc="chats", unit=" tokens", unit_scale=True, mininterval=10) as bar:
        for batch in stream(trainer, rng, generator, lambda: (time.monotonic() - started) / length):
            elapsed = time.monotonic() - started
            if elapsed >= length:
                break
            loss = trainer.step(batch, rate_at(options.rate, elapsed / length, trainer.steps))
            steady = loss if not steady else 0.98 * steady + 0.02 * loss
            bar.update(batch.tokens)
            bar.set_postfix(loss=f"{steady:.3f}", step=trainer.steps, minutes=f"{elapsed / 60:.1f}", refresh=False)
            if elapsed >= next_save:
                trainer.save()
                next_save += options.save_minutes * 60
            if elapsed >= next_evaluation:
                tqdm.write(f"\nafter {elapsed / 60:.0f} minutes, {trainer.tokens:,} tokens\n{trainer.evaluate(25)}\n")
                next_evaluation += options.evaluate_minutes * 60


def stream(
    trainer: Trainer, rng: random.Random, generator: torch.Generator, share: Callable[[], float]
) -> Iterator[batches.Batch]:
    """Chat batches for ever; digit drill and copying practice more often early than late."""
    shares = mixture.LATER_SHARES if trainer.options.start else mixture.SHARES
    count = 0
    while True:
        early = share() < 0.5
        drill = 0.10 if early and not trainer.options.start else 0.03
        for batch in batches.chats(trainer.words, rng, trainer.options.batch_tokens, drill, shares):
            count += 1
            if early and count % 15 == 0:
                yield batches.copying(tokenizer.VOCABULARY, generator, 1536)
            yield batch


def parse() -> Options:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--out", type=Path, default=Path("demo/model"))
    parser.add_argument("--start", type=Path, help="go on from this model instead of from new weights")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-tokens", type=int, default=3072)
    parser.add_argument("--save-minutes", type=float, default=5)
    parser.add_argument("--evaluate-minutes", type=float, default=10)
    return Options(**vars(parser.parse_args()))


def main() -> None:
    """Tokenizer, copying, chats, a last evaluation."""
    options, began = parse(), time.monotonic()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    start = options.start
    trainer = Trainer(options, tokenizer.load(start) if start else tokenizer.train(options.seed))
    tqdm.write(f"{structure.parameters(trainer.model):,} weights")
    generator = torch.Generator().manual_seed(options.seed)
    if not start:
        practise_copying(trainer, time.monotonic() + min(60.0, options.minutes * 60 * 0.2), generator)
    train(trainer, began, generator)
    trainer.save()
    minutes = (time.monotonic() - began) / 60
    print(f"{minutes:.0f} minutes, {trainer.steps} steps, {trainer.tokens:,} tokens\n{trainer.evaluate(100)}")


if __name__ == "__main__":
    main()
