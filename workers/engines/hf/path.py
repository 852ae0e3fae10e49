"""Choosing and preparing the path that serves a model."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from workers.engines.hf import gate, linear, norm
from workers.engines.hf.attention import register
from workers.engines.hf.batch import Shares, one_whole, split_budget
from workers.engines.hf.fallback import FallbackForward
from workers.engines.hf.forward import Forward
from workers.engines.hf.model import embedding
from workers.engines.hf.packed import PackedForward
from workers.engines.hf.shelves import Shelves

NOTE_LENGTH = 300  # characters
BATCHED = "batched"  # the note of the path that models should get


@dataclass(frozen=True, slots=True)
class Path:
    """How a model is served."""

    forward: Forward
    shares: Shares
    note: str  # for the operator


def choose_path(
    model: PreTrainedModel, reload: Callable[[], PreTrainedModel], slots: int, context: int, budget: int | None
) -> Path:
    """The batched path where the model passes the gate, else the slower one.

    `reload` gives the model anew, for when the faster layers that replaced its own turn out to be wrong: to keep both
    until that is known would take twice the memory.
    """
    with torch.inference_mode():
        try:
            forward = batched(model, slots, context)
        except Exception as error:  # noqa: BLE001 - whatever a model's code raises here, its own forward may still work
            own = reload() if linear.is_packed(model) or norm.is_fused(model) else model
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:NOTE_LENGTH]
            return Path(FallbackForward(own), one_whole, f"one sequence at a time: {reason}")
    # A CPU computes some 1000 prompt tokens of a small model per second, a GPU far more.
    return Path(forward, split_budget(budget or (256 if model.device.type == "cpu" else 2048)), BATCHED)


def batched(model: PreTrainedModel, slots: int, context: int) -> PackedForward:
    """The batched path, proven; raises where it does not suit, with the model's own attention back in place."""
    if reason := gate.objection(model.config.get_text_config(), context):
        raise ValueError(reason)
    register()
    own = model.config._attn_implementation
    try:
        return proven(model, slots, context)
    except Exception:
        linear.unveil(model)
        model.set_attn_implementation(own)
        raise


def proven(model: PreTrainedModel, slots: int, context: int) -> PackedForward:
    """Pass the gate, then speed up the layers as far as that keeps the model's results."""
    ids = gate.probe_ids(embedding(model).num_embeddings)
    model.set_attn_implementation("eager")
    expected, tolerance = gate.reference(model, ids), gate.tolerance(model)
    gate.switch_over(model)
    # Attention reads whole tensors on a CPU, so they stay tight; on a GPU growing (copying, new addresses) costs more.
    shelves = Shelves(slots, context, 64 if model.device.type == "cpu" else 512)
    forward = PackedForward(model, shelves)
    gate.check_logits(gate.probe(forward, model, ids), expected, tolerance)
    norm.fuse(model)
    if linear.can_pack(model.device, model.dtype) and calls_linears(model, forward):
        linear.pack(model)
    gate.check_logits(gate.probe(forward, model, ids), expected, tolerance)
    return forward


def calls_linears(model: PreTrainedModel, forward: PackedForward) -> bool:
    """Whether the model calls its linear layers, all of them, and never reads their weights itself."""
    linear.veil(model)
    try:
        gate.probe(forward, model, gate.probe_ids(embedding(model).num_embeddings))
    except AttributeError:
        return False
    finally:
        linear.unveil(model)
    return True
