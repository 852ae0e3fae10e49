"""The model, and initial weights that already hold copy circuits (ordinary weights, trained on like all others).

Layer 0 gets heads that look one or two tokens back; layers 1 and 2 get heads that find an earlier occurrence of the
present token and copy what followed it. From plain random weights so small a model is slow to find these circuits.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

HIDDEN, HEADS, LAYERS, INNER = 256, 4, 6, 512
SIZE = HIDDEN // HEADS
THETA = 1e6
OFFSETS = (1, 1, 2)
INDUCTION_LAYERS = ((1, (0, 1)), (2, (0, 2)))  # layer, and the layer-0 heads that its induction heads read


def config(vocabulary: int, eos: int, pad: int) -> LlamaConfig:
    """An ordinary Llama; `attention_bias` because the previous-token heads live in the biases of q and k."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": THETA},
        tie_word_embeddings=True,
        attention_bias=True,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=pad,
        dtype="bfloat16",
    )


@torch.no_grad()
def build(settings: LlamaConfig) -> LlamaForCausalLM:
    """A model in float32 with the copy circuits in place."""
    settings._attn_implementation = "eager"  # 20 % faster than sdpa for short rows on a CPU
    settings.dtype = torch.float32
    model = LlamaForCausalLM(settings)
    frequencies = THETA ** (-torch.arange(SIZE // 2) / (SIZE // 2))
    read = [_orthonormal() for _ in OFFSETS]
    written = [_orthonormal() for _ in OFFSETS]
    first = model.model.layers[0].self_attn
    for head, offset in enumerate(OFFSETS):
        _previous_token(first, head, offset, frequencies, read[head], written[head])
    slow = (frequencies < 1 / 300).repeat(2).unsqueeze(1)
    for layer, sources in INDUCTION_LAYERS:
        attention = model.model.layers[layer].self_attn
        for head, source in enumerate(sources):
            _induction(attention, head, read[source] * slow, written[source] * slow)
    return model


def _orthonormal() -> Tensor:
    """SIZE orthonormal directions of the residual stream, as rows."""
    basis: Tensor = torch.linalg.qr(torch.randn(HIDDEN, SIZE))[0]
    return basis.T


def _rows(head: int) -> slice:
    return slice(head * SIZE, (head + 1) * SIZE)


def _previous_token(
    attention: torch.nn.Module, head: int, offset: int, frequencies: Tensor, read: Tensor, written: Tensor
) -> None:
    """Look `offset` back by the biases' rotary phase alone; move that token's code `read` to `written`."""
    rows, half, fast, strength = _rows(head), SIZE // 2, 12, 6.7
    query, key = torch.zeros(SIZE), torch.zeros(SIZE)
    angle = offset * frequencies[:fast]
    key[:fast] = strength
    query[:fast] = strength * torch.cos(angle)
    query[half : half + fast] = -strength * torch.sin(angle)
    for name, bias in (("q_proj", query), ("k_proj", key)):
        linear = getattr(attention, name)
        linear.weight[rows] *= 0.1
        linear.bias[rows] = bias
    attention.get_submodule("v_proj").get_parameter("weight")[rows] = read
    attention.get_submodule("o_proj").get_parameter("weight")[:, rows] = 0.04 * written.T


def _induction(attention: torch.nn.Module, head: int, read: Tensor, written: Tensor) -> None:
    """Attend to tokens whose predecessor is the present token, and copy them to the output."""
    rows, copied = _rows(head), _orthonormal()
    attention.get_submodule("q_proj").get_parameter("weight")[rows] = 1.3 * read
    attention.get_submodule("k_proj").get_parameter("weight")[rows] = 1.3 * written
    attention.get_submodule("v_proj").get_parameter("weight")[rows] = copied
    attention.get_submodule("o_proj").get_parameter("weight")[:, rows] = 0.06 * copied.T


def parameters(model: torch.nn.Module) -> int:
    """Number of weights, tied ones counted once."""
    return sum(weight.numel() for weight in model.parameters())
