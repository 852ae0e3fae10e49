"""Accuracy per category, greedy: `python -m demo.evaluate demo/model --items 100`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from demo.cases import Case, categories
from demo.tokenizer import end_and_pad

BATCH, LONGEST = 50, 90


@dataclass(frozen=True, slots=True)
class Score:
    """How many cases of a category are right, and two that are not."""

    category: str
    right: int
    total: int
    misses: tuple[tuple[str, str], ...]

    def row(self) -> str:
        """A line of the table."""
        return f"| {self.category} | {100 * self.right / self.total:.1f} | {self.total} |"


def scores(model: PreTrainedModel, tokenizer: Tokenizer, items: int, seed: int = 1) -> list[Score]:
    """Every category's score."""
    found = []
    for category, cases in categories(items, seed).items():
        replies = [
            reply
            for start in range(0, len(cases), BATCH)
            for reply in answer(model, tokenizer, cases[start : start + BATCH])
        ]
        wrong = [(c.prompt, reply) for c, reply in zip(cases, replies, strict=True) if not c.same(reply, c.expected)]
        found.append(Score(category, len(cases) - len(wrong), len(cases), tuple(wrong[:8])))
    return found


@torch.no_grad()
def answer(model: PreTrainedModel, tokenizer: Tokenizer, cases: list[Case]) -> list[str]:
    """Greedy replies to a batch of prompts."""
    end, pad = end_and_pad(tokenizer)
    encoded = [e.ids for e in tokenizer.encode_batch_fast([c.prompt for c in cases], add_special_tokens=False)]
    width = max(len(ids) for ids in encoded)
    ids = torch.tensor([[pad] * (width - len(e)) + e for e in encoded])
    mask = torch.tensor([[0] * (width - len(e)) + [1] * len(e) for e in encoded])
    written = model.generate(  # type: ignore[operator]
        input_ids=ids, attention_mask=mask, max_new_tokens=LONGEST, do_sample=False, eos_token_id=end, pad_token_id=pad
    )
    rows = [row[: row.index(end)] if end in row else row for row in written[:, width:].tolist()]
    return [tokenizer.decode(row, skip_special_tokens=False) for row in rows]


def table(found: list[Score]) -> str:
    """The scores in Markdown."""
    return "\n".join(["| category | right, % | items |", "|---|---|---|", *(score.row() for score in found)])


def main() -> None:
    """Print the table, and the misses where asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="demo/model")
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--misses", action="store_true")
    options = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    found = scores(model, tokenizer.backend_tokenizer, options.items, options.seed)
    print(table(found))
    if options.misses:
        for score in found:
            for prompt, reply in score.misses:
                print(f"\n## {score.category}\n{prompt}{reply}")


if __name__ == "__main__":
    main()
