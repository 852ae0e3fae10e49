"""Models with random weights, of a size that tells something about speed."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from torch import nn
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

VOCABULARY = 8192


def make_tenth_of_a_billion(folder: Path) -> int:
    """A Qwen2 of about 0.1 billion parameters in bfloat16; their number."""
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(config)
    nn.Module.to(model, torch.bfloat16)
    model.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w0"))  # noqa: S106 - no secret
    fast: Any = PreTrainedTokenizerFast  # its constructor has no types
    fast(tokenizer_object=words).save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())
