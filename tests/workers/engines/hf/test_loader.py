"""What loads, what does not, and the sentence that says so."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import PreTrainedConfig

from tests.workers.engines.hf.driving import generate, greedy, ids, running
from tests.workers.engines.hf.tiny import make_model
from workers.engines.base import EngineError, SamplingDefaults
from workers.engines.hf import loader
from workers.engines.hf.device import auto_dtype, pick_device, pick_dtype
from workers.engines.hf.engine import HfEngine
from workers.engines.hf.placement import memory_limits, placement
from workers.engines.hf.settings import HfSettings

CPU = torch.device("cpu")


async def refusal(path: object, **settings: object) -> str:
    """The sentence of an engine that does not start."""
    options: dict[str, Any] = {**settings}
    engine = HfEngine(HfSettings(str(path), **options))
    with pytest.raises(EngineError) as caught:
        await engine.start()
    await engine.stop()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def copy(llama: Path, tmp_path: Path) -> Path:
    """A model folder that a test may damage."""
    return Path(shutil.copytree(llama, tmp_path / "copy"))


def rewrite(file: Path, **changes: object) -> None:
    """Change fields of a JSON file; None takes one out."""
    fields = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in fields.items() if value is not None}))


async def test_a_missing_folder() -> None:
    """The folder is named."""
    assert "there is no folder /no/such/model" in await refusal("/no/such/model")


async def test_a_folder_without_a_model(tmp_path: Path) -> None:
    """The missing file is named."""
    assert "config.json" in await refusal(tmp_path)


async def test_a_hub_id_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name and network are suggested as causes."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "check name, network" in await refusal("nobody/no-such-model")


async def test_pickled_weights_are_not_loaded(copy: Path) -> None:
    """Only safetensors are: unpickling runs code."""
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    assert "no .safetensors weights" in await refusal(copy)


async def test_an_unknown_architecture(copy: Path) -> None:
    """A model that transformers does not know is refused with that reason."""
    rewrite(copy / "config.json", model_type="martian", architectures=["Martian"])
    assert "does not know this kind of model" in await refusal(copy)


async def test_a_model_that_is_no_language_model(copy: Path) -> None:
    """A kind that transformers knows, but not as a language model, is refused."""
    rewrite(copy / "config.json", model_type="vit", architectures=["ViTModel"])
    assert "no language model" in await refusal(copy)


async def test_a_model_with_its_own_code(copy: Path) -> None:
    """Code that ships with a model is not run unless the operator says so."""
    rewrite(copy / "config.json", model_type="own", auto_map={"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.M"})
    (copy / "own.py").write_text("raise SystemExit('ran')")
    assert "--trust-remote-code" in await refusal(copy)


async def test_damaged_weights(copy: Path) -> None:
    """Weights cut short give a sentence, not a traceback."""
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "cannot load" in await refusal(copy)


async def test_missing_bitsandbytes(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package to install is named."""
    monkeypatch.setattr(loader, "find_spec", lambda _: None)
    assert "pip install bitsandbytes" in await refusal(llama, load_8bit=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"device": "cuda"}, "no cuda device"),
        ({"device": "abacus"}, "unknown device"),
        ({"device": "cuda:x"}, "unknown device"),
        ({"device": "cpu:7"}, "there is no cpu:7"),
        ({"device": "cpu", "dtype": "float16"}, "CPUs do not compute in float16"),
        ({"device": "cpu", "dtype": "int7"}, "unknown dtype"),
        ({"device": "cpu", "num_gpus": 2}, "need --device cuda"),
        ({"device": "cpu", "max_gpu_memory": "3GiB"}, "need --device cuda"),
        ({"device": "cpu", "max_context": 257}, "2 to 256"),
        ({"device": "cpu", "slots": 0}, "at least one"),
        ({"device": "cpu", "prompt_budget": 0}, "at least one"),
    ],
)
async def test_settings_that_cannot_be(
    llama: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], words: str
) -> None:
    """Each impossible setting has its sentence."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert words in await refusal(llama, **settings)


def test_the_default_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU where there is one, else the CPU."""
    for there, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert pick_device(None).type == kind


def test_auto_dtype_is_one_that_the_device_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint's own format where the device has it, else the nearest."""
    for has_bfloat16, checkpoint, expected in (
        (True, torch.bfloat16, torch.bfloat16),
        (True, torch.float16, torch.bfloat16),
        (True, torch.float32, torch.float32),
        (True, torch.float8_e4m3fn, torch.bfloat16),
        (False, torch.bfloat16, torch.float32),
        (False, torch.float16, torch.float32),
    ):
        monkeypatch.setattr("workers.engines.hf.device.has_bfloat16", lambda _, has=has_bfloat16: has)
        assert auto_dtype(CPU, checkpoint) is expected
    assert auto_dtype(torch.device("cuda"), torch.bfloat16) is torch.float16  # an old GPU
    assert pick_dtype("float32", CPU, torch.bfloat16) is torch.float32


def test_one_device_needs_no_plan() -> None:
    """A single GPU or the CPU gets all weights."""
    assert placement(HfSettings("x"), CPU) == {"device_map": {"": CPU}}


def test_several_gpus_share_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the GPUs asked for are used, each within the operator's limit or a share of what is free."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (1000 * (gpu + 1), 9999))
    plan = placement(HfSettings("x", num_gpus=2, max_gpu_memory="13GiB"), torch.device("cuda"))
    assert plan == {"device_map": "auto", "max_memory": {0: "13GiB", 1: "13GiB"}}
    plan = placement(HfSettings("x", num_gpus=2), torch.device("cuda:1"))
    assert plan["max_memory"] == {1: 1700, 2: 2550}
    with pytest.raises(EngineError, match="has 4 GPU"):
        placement(HfSettings("x", num_gpus=5), torch.device("cuda"))
    assert memory_limits({0: 100}, None) == {0: 85}


def test_end_ids_come_from_everywhere() -> None:
    """generation_config may name one or a list; config and tokenizer add theirs."""
    config, generation = PreTrainedConfig(), SimpleNamespace(eos_token_id=[1, 2])
    config.eos_token_id = 3
    assert loader.eos_ids(generation, config, 4) == {1, 2, 3, 4}
    assert loader.eos_ids(SimpleNamespace(eos_token_id=1), config, None) == {1, 3}
    assert loader.eos_ids(None, PreTrainedConfig(), None) == frozenset()


async def test_end_ids_of_a_loaded_model(copy: Path) -> None:
    """An id that only generation_config names ends a generation."""
    async with running(copy) as engine:
        first = (await ids(engine, [1, 2, 3], greedy(1)))[0]
    rewrite(copy / "generation_config.json", eos_token_id=[256, first])
    async with running(copy) as engine:
        tokens = await generate(engine, [1, 2, 3], greedy(9, ignore_eos=False))
        assert [token.finish for token in tokens] == ["stop"]


async def test_a_model_without_a_length(tmp_path: Path) -> None:
    """A recurrent model gets a context of its own, or the operator's."""
    make_model(tmp_path, "mamba2")
    async with running(tmp_path) as engine:
        assert engine.context_length == loader.UNLIMITED_CONTEXT
    async with running(tmp_path, max_context=100_000) as engine:
        assert engine.context_length == 100_000


async def test_8_bit(tmp_path: Path) -> None:
    """A model loads in 8 bits, takes the batched path, and its notes say so."""
    make_model(tmp_path, "llama", hidden_size=64, intermediate_size=128)
    async with running(tmp_path, load_8bit=True) as engine:
        assert engine.notes["quantisation"] == "8-bit"
        assert engine.notes["path"] == "batched"
        assert len(await generate(engine, [1, 2, 3], greedy(5))) == 5


async def test_half_precision_on_the_cpu(llama: Path) -> None:
    """bfloat16 is served, by the batched path."""
    async with running(llama, dtype="bfloat16") as engine:
        assert engine.notes["dtype"] == "bfloat16"
        assert engine.notes["path"] == "batched"
        assert len(await generate(engine, [1, 2, 3], greedy(5))) == 5


@pytest.mark.parametrize(
    ("advice", "defaults"),
    [
        ({}, SamplingDefaults()),
        ({"do_sample": False, "temperature": 0.7}, SamplingDefaults(temperature=0.0)),
        (
            {"do_sample": True, "temperature": 0.6, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05},
            SamplingDefaults(0.6, 0.8, 20, 1.05),
        ),
        ({"temperature": -3, "top_p": 7, "top_k": "many"}, SamplingDefaults()),
    ],
)
def test_the_makers_advice_is_the_default(advice: dict[str, object], defaults: SamplingDefaults) -> None:
    """A request that names no temperature gets that of generation_config.json; absurd values count for nothing."""
    assert loader.sampling_defaults(SimpleNamespace(**advice)) == defaults
