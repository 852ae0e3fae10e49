"""Whether a model can be served by the batched path.

transformers takes any registered attention function for any model, also for models that never call it, so each model
has to show that it does: 1. it says that it supports functions from outside; 2. it calls ours once per layer;
3. with no argument that ours does not know; 4. its layers are of kinds that ours computes; 5. its logits are those of
its own attention. The probe is too short to see a long window or chunk; rule 4 is there for these.
"""

import random
from collections.abc import Mapping, Sequence

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from workers.engines.hf.attention import NAME
from workers.engines.hf.forward import Chunk
from workers.engines.hf.model import embedding
from workers.engines.hf.packed import PackedForward

LAYER_KINDS = frozenset({"full_attention", "sliding_attention"})
# Arguments of a call that change nothing in it.
HARMLESS = frozenset({"position_ids", "use_cache", "output_router_logits", "output_attentions", "output_hidden_states"})
# Largest relative error of the probe's logits. Rounding differs with the shape of a batch; a wrong mask gives ≥ 0.1.
TOLERANCE = {torch.float32: 2e-3, torch.bfloat16: 0.05, torch.float16: 0.02}
QUANTISED_TOLERANCE = 0.15

FIRST, SECOND = 9, 6  # tokens of the probe's two sequences


def objection(config: PreTrainedConfig, context: int) -> str | None:
    """Why a model's description rules the batched path out."""
    if config.is_encoder_decoder:
        return "it is an encoder-decoder"
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if strange := kinds - LAYER_KINDS:
        return f"it has layers of type {', '.join(sorted(strange))}"
    if getattr(config, "attention_chunk_size", None):
        return "its attention works in chunks"
    for rope in ropes(getattr(config, "rope_parameters", None)):
        kind, original = rope.get("rope_type"), rope.get("original_max_position_embeddings")
        # Both change all positions with the longest sequence of a batch, so that one would alter the others.
        if kind == "dynamic" or (kind == "longrope" and (not isinstance(original, int) or context > original)):
            return f"its positions ({kind}) depend on the longest sequence of a batch"
    return None


def ropes(parameters: object) -> list[Mapping[str, object]]:
    """Settings of the rotary positions: one set, or one per kind of layer."""
    if not isinstance(parameters, Mapping):
        return []
    nested = [value for value in parameters.values() if isinstance(value, Mapping)]
    return nested or [parameters]


def probe_ids(vocabulary: int) -> list[list[int]]:
    """Two short sequences."""
    rng = random.Random(0)
    return [[rng.randrange(vocabulary) for _ in range(count)] for count in (FIRST, SECOND)]


def reference(model: PreTrainedModel, ids: Sequence[Sequence[int]]) -> torch.Tensor:
    """Logits after the places that `probe` looks at, computed with the model's own attention."""
    device = embedding(model).weight.device
    rows = [model(input_ids=torch.tensor([row], device=device), use_cache=False).logits[0].float() for row in ids]
    first, second = rows
    return torch.stack([first[6], first[7], second[4], first[8], second[5]])


def probe(forward: PackedForward, model: PreTrainedModel, ids: Sequence[Sequence[int]]) -> torch.Tensor:
    """The same logits by three batched steps: prompts in pieces, mixed with single tokens, single tokens alone.

    Raises ValueError where the model did not call the attention function as it should.
    """
    first, second = ids
    steps = [
        [Chunk(0, 0, list(first[:7]), True), Chunk(1, 0, list(second[:3]), False)],
        [Chunk(0, 7, list(first[7:8]), True), Chunk(1, 3, list(second[3:5]), True)],
        [Chunk(0, 8, list(first[8:9]), True), Chunk(1, 5, list(second[5:6]), True)],
    ]
    found = []
    for step in steps:
        found.append(forward.forward(step).float())
        check_calls(forward.calls, model.config.get_text_config())
    forward.clear()
    return torch.cat(found)


def check_calls(calls: Sequence[tuple[int, Mapping[str, object]]], config: PreTrainedConfig) -> None:
    """Each layer once, its own window, nothing unknown; raises ValueError."""
    layers = sorted(layer for layer, _ in calls)
    if layers != list(range(config.num_hidden_layers)):
        raise ValueError(f"{len(layers)} of its {config.num_hidden_layers} layers use the attention function")
    for layer, arguments in calls:
        unknown = [k for k, v in arguments.items() if v is not None and k not in HARMLESS | {"sliding_window"}]
        if unknown and not (unknown == ["is_causal"] and arguments["is_causal"] is True):
            raise ValueError(f"its attention needs {', '.join(unknown)}")
        if arguments["sliding_window"] != window(config, layer):
            raise ValueError(f"layer {layer} does not pass on its attention window")


def window(config: PreTrainedConfig, layer: int) -> int | None:
    """The attention window that a layer should have by the model's description."""
    kinds = getattr(config, "layer_types", None)
    wide = kinds is not None and kinds[layer] == "full_attention"
    if wide or getattr(config, "use_sliding_window", True) is False:
        return None
    return getattr(config, "sliding_window", None)


def check_logits(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """Raises ValueError where the batched path computes something else than the model's own."""
    error = ((found - expected).norm(dim=-1) / expected.norm(dim=-1).clamp(min=1e-12)).max().item()
    if not error <= tolerance:  # so that NaN fails too
        raise ValueError(f"its logits differ by {error:.1%} from those of its own attention")


def tolerance(model: PreTrainedModel) -> float:
    """How much rounding may change the logits."""
    return QUANTISED_TOLERANCE if getattr(model, "is_quantized", False) else TOLERANCE[model.dtype]


def use_attention(model: PreTrainedModel, name: str) -> None:
    """Switch the model's attention; raises ValueError where it cannot be."""
    model.set_attn_implementation(name)
    if model.config._attn_implementation != name:
        raise ValueError("its attention cannot be replaced")


def switch_over(model: PreTrainedModel) -> None:
    """Switch to the batched attention; raises ValueError where the model does not support that."""
    if not getattr(model, "_supports_attention_backend", False):
        raise ValueError("its class does not support attention functions from outside")
    use_attention(model, NAME)
