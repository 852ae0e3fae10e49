"""Which models the batched path takes, and how it makes them faster."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, PreTrainedModel
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from tests.workers.engines.hf.tiny import BATCHED, make_model
from workers.engines.hf import gate, linear, norm
from workers.engines.hf.look import Look
from workers.engines.hf.part import Part
from workers.engines.hf.path import choose_path
from workers.engines.hf.step import Calls


@pytest.fixture
def model(tmp_path: Path) -> PreTrainedModel:
    """A tiny model in memory."""
    return make_model(tmp_path)


def note(model: PreTrainedModel) -> str:
    """The path that a model gets."""
    return choose_path(model, lambda: model, slots=4, context=256, budget=None).note


def test_layers_that_turn_out_wrong_are_not_kept(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a faster layer gives other results, the model is served by the slower path, loaded anew."""
    plain = linear.PackedLinear.forward

    def wrong(self: linear.PackedLinear, x: torch.Tensor) -> torch.Tensor:
        return plain(self, x) + 1

    monkeypatch.setattr(linear.PackedLinear, "forward", wrong)
    asked: list[bool] = []

    def reload() -> PreTrainedModel:
        asked.append(linear.is_packed(model))
        return model

    path = choose_path(model, reload, slots=4, context=256, budget=None)
    assert path.note.startswith("one sequence at a time")
    assert asked == [True]


@pytest.mark.parametrize("family", sorted(set(BATCHED) - {"llama", "qwen2", "mistral", "gemma2", "gpt2"}))
def test_these_families_are_batched(family: str, tmp_path: Path) -> None:
    """The families whose attention goes through transformers' interface take the batched path."""
    assert note(make_model(tmp_path, family)) == "batched"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"layer_types": ["full_attention", "chunked_attention"]}, "chunked_attention"),
        ({"attention_chunk_size": 8}, "in chunks"),
        ({"is_encoder_decoder": True}, "encoder-decoder"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "dynamic"),
    ],
)
def test_descriptions_that_rule_it_out(fields: dict[str, object], words: str) -> None:
    """What a short probe cannot see is read from the model's description."""
    config = LlamaConfig()
    for name, value in fields.items():
        setattr(config, name, value)
    assert words in (gate.objection(config, 100) or "")
    assert gate.objection(LlamaConfig(), 100) is None


def test_long_rope_only_within_the_original_length() -> None:
    """Positions that change for all once one sequence is long are fine as long as none can be."""
    config = LlamaConfig()
    config.rope_parameters = {"rope_type": "longrope", "original_max_position_embeddings": 100}
    assert gate.objection(config, 100) is None
    assert "longrope" in (gate.objection(config, 101) or "")


def test_wrong_logits_are_noticed(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that computes something else by the batched path is served by the other, as it was."""
    own = model.config._attn_implementation
    ids = torch.tensor([[1, 2, 3]])
    before = model(ids).logits
    plain = Look.singles

    def wrong(self: Look, part: Part, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return plain(replace(self, scale=2 * self.scale), part, query, keys, values)

    monkeypatch.setattr(Look, "singles", wrong)
    found = note(model)
    assert found.startswith("one sequence at a time: its logits differ")
    assert model.config._attn_implementation == own
    assert torch.equal(model(ids).logits, before)


def test_calls_are_checked() -> None:
    """Each layer once, with its own window, and no argument that is not understood."""
    config = LlamaConfig(num_hidden_layers=2)
    config.layer_types = ["sliding_attention", "full_attention"]
    config.sliding_window = 8
    good: Calls = [(0, {"sliding_window": 8}), (1, {"sliding_window": None, "use_cache": False})]
    gate.check_calls(good, config)
    wrong: list[tuple[Calls, str]] = [
        (good[:1], "1 of its 2 layers"),
        ([good[0], (1, {"sliding_window": None, "position_bias": 1})], "position_bias"),
        ([(0, {"sliding_window": None}), good[1]], "layer 0"),
        ([good[0], (1, {"sliding_window": 8})], "layer 1"),
    ]
    for bad, words in wrong:
        with pytest.raises(ValueError, match=words):
            gate.check_calls(bad, config)


def test_nan_is_not_close() -> None:
    """Logits that are no numbers fail the gate."""
    with pytest.raises(ValueError, match="differ"):
        gate.check_logits(torch.full((1, 3), torch.nan), torch.ones(1, 3), 0.1)


def test_the_layers_of_a_batched_model_are_packed(model: PreTrainedModel) -> None:
    """On a CPU the plain linear layers and norms are replaced by quicker ones; none is left hidden."""
    assert note(model) == "batched"
    kinds = {type(module) for module in model.modules()}
    assert linear.PackedLinear in kinds
    assert norm.FusedRmsNorm in kinds
    assert not kinds & {nn.Linear, linear.Veiled, LlamaRMSNorm}


def test_a_model_that_reads_its_weights_is_not_packed(model: PreTrainedModel) -> None:
    """Where a model uses a weight without calling its layer, the layers stay as they are."""
    head = model.lm_head

    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = head

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(x, self.inner.weight)

    model.lm_head = Reading()
    assert note(model) == "batched"
    kinds = {type(module) for module in model.modules()}
    assert nn.Linear in kinds
    assert not kinds & {linear.PackedLinear, linear.Veiled}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_packed_layers_compute_the_same(dtype: torch.dtype, bias: bool) -> None:
    """A packed layer gives a plain one's results for any number of rows."""
    if not linear.can_pack(torch.device("cpu"), dtype):
        pytest.skip("oneDNN does not pack this format here")
    plain = nn.Linear(48, 80, bias=bias, dtype=dtype).requires_grad_(requires_grad=False)
    packed = linear.PackedLinear(plain)
    for rows in (1, 3, 32, 100):
        x = torch.randn(1, rows, 48, dtype=dtype)
        assert torch.allclose(packed(x), plain(x), atol=0.05 if dtype is torch.bfloat16 else 1e-5)


def test_only_norms_of_the_plain_kind_are_fused() -> None:
    """Llama's norm is; Gemma's, which multiplies by 1 + weight, is not."""
    model = nn.ModuleDict({"plain": LlamaRMSNorm(16, eps=1e-5), "other": GemmaRMSNorm(16)})
    for weight in model.parameters():
        nn.init.normal_(weight)
    x = torch.randn(3, 16)
    before = model["plain"](x)
    norm.fuse(model)
    assert isinstance(model["plain"], norm.FusedRmsNorm)
    assert isinstance(model["other"], GemmaRMSNorm)
    assert torch.allclose(model["plain"](x), before, atol=1e-6)
