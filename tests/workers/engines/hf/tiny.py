"""Small models with random weights, and a tokenizer for them."""

from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

VOCABULARY = 320  # 256 bytes, the special tokens, and ids that stand for nothing
SPECIALS = ("<|end|>", "<|im_start|>", "<|im_end|>")
EOS = 256

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'alien' %}{{ raise_exception('no aliens here') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}({{ c.function.arguments | tojson }}){% endfor %}<|im_end|>"
    "{% endfor %}{% if tools %}{{ tools | length }} tools{% endif %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
GROUPED = SMALL | {"num_key_value_heads": 2, "max_position_embeddings": 256}
MIXTURE = GROUPED | {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
OLD = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
WINDOW = {"sliding_window": 8}
MIXED = {"layer_types": ["sliding_attention", "full_attention"], "head_dim": 8} | WINDOW

BATCHED: dict[str, dict[str, Any]] = {
    "llama": GROUPED,
    "qwen2": GROUPED,
    "qwen3": GROUPED | {"head_dim": 8},
    "mistral": GROUPED | WINDOW | {"head_dim": 8},
    "gemma2": GROUPED | MIXED | {"query_pre_attn_scalar": 8, "attn_logit_softcapping": 5.0},
    "gemma3_text": GROUPED | MIXED | {"query_pre_attn_scalar": 8},
    "gpt_oss": MIXTURE | MIXED,
    "mixtral": MIXTURE,
    "qwen3_moe": MIXTURE | {"head_dim": 8},
    "phi3": GROUPED | {"pad_token_id": 0},
    "olmo2": GROUPED,
    "gpt_neox": SMALL | {"max_position_embeddings": 256},
    "gpt2": OLD,
    "opt": SMALL | {"ffn_dim": 64, "max_position_embeddings": 256, "word_embed_proj_dim": 32},
    "cohere2": GROUPED | MIXED,
    "phi": SMALL | {"max_position_embeddings": 256},
    "granite": GROUPED,
    "glm4": GROUPED | {"head_dim": 8, "pad_token_id": 0},
    "smollm3": GROUPED | {"pad_token_id": 0},
}
FALLBACK: dict[str, dict[str, Any]] = {
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "mamba2": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_heads": 8,
        "head_dim": 8,
        "state_size": 8,
        "n_groups": 2,
    },
    "qwen3_next": MIXTURE
    | {"head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8}
    | {"linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"]}
    | {"shared_expert_intermediate_size": 32},
}


def make_model(folder: Path, family: str = "llama", **changes: object) -> PreTrainedModel:
    """A model of this family with its tokenizer, saved in the folder. The same every time."""
    options = {**(BATCHED | FALLBACK)[family], "vocab_size": VOCABULARY, **changes}
    config = AutoConfig.for_model(family, **options, bos_token_id=None, eos_token_id=EOS)
    torch.manual_seed(0)
    auto: Any = AutoModelForCausalLM  # its class methods have no types
    model = cast(PreTrainedModel, auto.from_config(config, dtype=torch.float32))
    scale_up(model)
    model.train(False)
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return model


def scale_up(model: PreTrainedModel) -> None:
    """Weights as large as a trained model's, or each token would hardly depend on the ones before it."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 1.5 * parameter.shape[-1] ** -0.5)


def make_tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """One token per byte."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(SPECIALS))
    fast: Any = PreTrainedTokenizerFast  # its constructor has no types
    tokenizer = cast(PreTrainedTokenizerFast, fast(tokenizer_object=core, eos_token=SPECIALS[0]))
    tokenizer.chat_template = template
    return tokenizer
