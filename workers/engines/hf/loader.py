"""Loading a model, its tokenizer and what they say about themselves; every failure becomes one clear sentence."""

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path as File
from typing import Any, TypeVar, cast

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from workers.engines.base import EngineError, SamplingDefaults, UnloadableError
from workers.engines.hf.batch import Shares
from workers.engines.hf.device import pick_device, pick_dtype
from workers.engines.hf.forward import Forward
from workers.engines.hf.model import embedding
from workers.engines.hf.path import choose_path
from workers.engines.hf.placement import placement
from workers.engines.hf.settings import HfSettings
from workers.engines.hf.tokenizer import HfTokenizer

T = TypeVar("T")

UNLIMITED_CONTEXT = 8192  # for models that name no length (recurrent ones), so that memory stays bounded


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is known of a loaded model."""

    tokenizer: HfTokenizer
    context: int
    vocabulary: int  # ids that the model takes
    eos: frozenset[int]
    defaults: SamplingDefaults
    notes: Mapping[str, str]


def load(settings: HfSettings) -> tuple[Loaded, Forward, Shares]:
    """Load everything; blocks for seconds to minutes. Raises EngineError."""
    folder = File(settings.model_path).expanduser()
    if folder.is_dir():
        settings = replace(settings, model_path=str(folder))
    check(settings)
    device = pick_device(settings.device)
    config = attempt(settings, "read", lambda: AutoConfig.from_pretrained(settings.model_path, **source(settings)))
    dtype = pick_dtype(settings.dtype, device, getattr(config.get_text_config(), "dtype", None))
    context = context_length(config, settings.max_context)
    tokenizer = attempt(
        settings,
        "read the tokenizer of",
        lambda: AutoTokenizer.from_pretrained(settings.model_path, **source(settings)),
    )

    def weights() -> PreTrainedModel:
        return attempt(settings, "load", lambda: load_model(settings, device, dtype))

    model = weights()
    path = choose_path(model, weights, settings.slots, context, settings.prompt_budget)
    gc.collect()  # weights that packing replaced
    wrapped = HfTokenizer(tokenizer)
    notes = {
        "model_type": str(config.model_type),
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "quantisation": "8-bit" if settings.load_8bit else "none",
        "path": path.note,
    }
    vocabulary = embedding(model).num_embeddings
    eos = eos_ids(model.generation_config, config, wrapped.eos)
    defaults = sampling_defaults(model.generation_config)
    return Loaded(wrapped, context, vocabulary, eos, defaults, notes), path.forward, path.shares


def check(settings: HfSettings) -> None:
    """What can be known to fail before anything is read."""
    path = File(settings.model_path)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UnloadableError(f"{settings.model_path} holds no config.json: name a transformers model's folder")
        if not any(path.glob("*.safetensors")):
            raise UnloadableError(
                f"{settings.model_path} holds no .safetensors weights: convert the model (pickle is unsafe)"
            )
    elif settings.model_path.startswith(("/", ".", "~")) or settings.model_path.count("/") > 1:
        raise UnloadableError(
            f"there is no folder {settings.model_path}: name an existing one, or a hub id like Qwen/Qwen3-0.6B"
        )
    if settings.load_8bit and find_spec("bitsandbytes") is None:
        raise UnloadableError("8-bit loading needs bitsandbytes: pip install bitsandbytes, or leave out --load-8bit")
    if settings.num_gpus < 1:
        raise UnloadableError(f"--num-gpus is {settings.num_gpus}: give the number of GPUs to spread the layers over")
    if settings.slots < 1:
        raise UnloadableError(f"slots is {settings.slots}: a batch needs room for at least one sequence")
    if settings.prompt_budget is not None and settings.prompt_budget < 1:
        raise UnloadableError(f"a step needs at least one prompt token, not {settings.prompt_budget}")


def source(settings: HfSettings) -> dict[str, Any]:
    """Where all parts of a model come from."""
    return {"revision": settings.revision or "main", "trust_remote_code": settings.trust_remote_code}


def load_model(settings: HfSettings, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """The weights, on their devices, ready to compute."""
    options = source(settings) | {"dtype": dtype, "use_safetensors": True} | placement(settings, device)
    if settings.load_8bit:
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    model = cast(PreTrainedModel, AutoModelForCausalLM.from_pretrained(settings.model_path, **options))
    model.requires_grad_(requires_grad=False)
    model.train(False)
    return model


def context_length(config: PreTrainedConfig, wanted: int | None) -> int:
    """The model's own context, or the shorter one that the operator wants."""
    text = config.get_text_config()
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
    own = next((int(value) for name in names if (value := getattr(text, name, None))), None)
    if wanted is not None and (wanted < 2 or (own is not None and wanted > own)):
        raise UnloadableError(
            f"a context of {wanted} tokens is impossible: this model takes 2 to {own or 'any number'}"
        )
    return wanted or own or UNLIMITED_CONTEXT


def eos_ids(generation: object, config: PreTrainedConfig, tokenizer: int | None) -> frozenset[int]:
    """All ids that end a text, wherever the model names them."""
    found: set[int] = set()
    for ids in (getattr(generation, "eos_token_id", None), getattr(config, "eos_token_id", None), tokenizer):
        found.update(ids if isinstance(ids, list) else [] if ids is None else [ids])
    return frozenset(found)


def sampling_defaults(generation: object) -> SamplingDefaults:
    """What the model's makers advise in generation_config.json; values that no request could have are left out."""

    def advised(name: str, least: float, most: float, otherwise: float) -> float:
        value = getattr(generation, name, None)
        return float(value) if isinstance(value, int | float) and least <= value <= most else otherwise

    greedy = getattr(generation, "do_sample", None) is False  # None where the file says nothing
    return SamplingDefaults(
        temperature=0.0 if greedy else advised("temperature", 0.0, 2.0, 1.0),
        top_p=advised("top_p", 1e-6, 1.0, 1.0),
        top_k=int(advised("top_k", 0, 1e6, 0)),
        repetition_penalty=advised("repetition_penalty", 1e-3, 100.0, 1.0),
    )


def attempt(settings: HfSettings, verb: str, act: Callable[[], T]) -> T:
    """The result of a call into transformers, whose many kinds of exception become one."""
    try:
        return act()
    except Exception as error:
        kind = UnloadableError if is_final(error) else EngineError
        raise kind(f"cannot {verb} {settings.model_path}: {explain(error)}") from error


def is_final(error: Exception) -> bool:
    """Whether the same would happen at the next try; a hub or memory that is out of reach may be back by then."""
    text = str(error).lower()
    if isinstance(error, OSError) and error.errno is not None:
        return False
    return any(sign in text for sign in ("trust_remote_code", "recognize this arch", "unrecognized", "safetensors"))


def explain(error: Exception) -> str:
    """What went wrong and what to do, from an exception of transformers."""
    text = " ".join(str(error).split())
    lower = text.lower()
    if isinstance(error, torch.OutOfMemoryError) or "out of memory" in lower:
        return "the device's memory is too small: use --load-8bit, more GPUs, or a smaller model"
    if "trust_remote_code" in lower:
        return "it needs Python code that ships with the model: if you trust its author, add --trust-remote-code"
    if "does not recognize this architecture" in lower or "unrecognized" in lower:
        return f"transformers does not know this kind of model, or it is no language model: {text[:200]}"
    if "safetensors" in lower:
        return "it has no safetensors weights: convert the model (pickle is unsafe)"
    if any(sign in lower for sign in ("connect", "offline", "cached", "not a valid model identifier", "resolve")):
        return "no such folder, and the hub lacks it or cannot be reached: check name, network and HF_TOKEN"
    return f"{type(error).__name__}: {text[:300]}"
