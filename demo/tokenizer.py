"""The tokenizer: byte-level BPE of 2304 entries, trained on the chats themselves.

Digits and Han characters stand alone; a word has the same tokens after a blank, a quote or `=`, which makes copying
into JSON easy.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from demo.chat import END, PAD, START, Segment
from demo.corpus import mixture

VOCABULARY = 2304
SPECIAL = (PAD, START, END)
MARKS = ("<tools>", "</tools>", "<tool_call>", "</tool_call>")
TEMPLATE = Path(__file__).parent / "template.jinja"


def train(seed: int, chats: int = 14000) -> Tokenizer:
    """A tokenizer trained on generated chats."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex("\n"), "isolated"),
        pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated"),
        pre_tokenizers.Split(Regex(r"\p{L}+|\p{N}|[^\p{L}\p{N}]+"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(MARKS),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(random.Random(seed), chats), trainer)
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in MARKS])
    return tokenizer


def _texts(rng: random.Random, chats: int) -> Iterator[str]:
    for _ in range(chats):
        text = "".join(piece for piece, _ in mixture.document(rng, drill=0.02))
        for mark in (*SPECIAL, *MARKS):
            text = text.replace(mark, "\n")
        yield text


def load(model: Path) -> Tokenizer:
    """The tokenizer that was saved with a model."""
    return Tokenizer.from_file(str(model / "tokenizer.json"))


def packaged(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The tokenizer with its chat template, as transformers saves it."""
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        chat_template=TEMPLATE.read_text(encoding="utf-8").rstrip("\n"),
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )


def encode(tokenizer: Tokenizer, documents: list[list[Segment]]) -> list[tuple[list[int], list[bool]]]:
    """Token ids of each document, and for each token whether it is learnt."""
    pieces = [piece for document in documents for piece in document]
    encoded = iter(tokenizer.encode_batch_fast([text for text, _ in pieces], add_special_tokens=False))
    found = []
    for document in documents:
        ids: list[int] = []
        learnt: list[bool] = []
        for _, learn in document:
            new = next(encoded).ids
            ids += new
            learnt += [learn] * len(new)
        found.append((ids, learnt))
    return found


def end_and_pad(tokenizer: Tokenizer) -> tuple[int, int]:
    """The ids of the two special tokens that generation needs."""
    ids = tokenizer.encode(END + PAD, add_special_tokens=False).ids
    return ids[0], ids[1]
