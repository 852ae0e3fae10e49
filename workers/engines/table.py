"""The engines by name. Nothing heavy is imported before an engine is chosen and built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workers.engines.base import Engine
from workers.settings import FakeWorkerSettings, HfWorkerSettings, WorkerSettings


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """How an engine is configured and built. `build` takes an instance of `settings`."""

    settings: type[WorkerSettings]
    build: Callable[[Any], Engine]
    about: str


def build_fake(settings: FakeWorkerSettings) -> Engine:
    from workers.engines.fake import FakeEngine  # noqa: PLC0415

    return FakeEngine(settings)


def build_hf(settings: HfWorkerSettings) -> Engine:
    from workers.engines.hf.engine import HfEngine  # noqa: PLC0415 - brings torch
    from workers.engines.hf.settings import HfSettings  # noqa: PLC0415

    return HfEngine(
        HfSettings(
            model_path=settings.model_path,
            revision=settings.revision,
            device=settings.device,
            dtype=settings.dtype,
            num_gpus=settings.num_gpus,
            max_gpu_memory=settings.max_gpu_memory,
            load_8bit=settings.load_8bit,
            trust_remote_code=settings.trust_remote_code,
            slots=settings.limit_worker_concurrency,
            max_context=settings.max_context,
            seed=settings.seed,
        )
    )


ENGINES: Mapping[str, EngineEntry] = {
    "hf": EngineEntry(HfWorkerSettings, build_hf, "a model run by Hugging Face transformers"),
    "fake": EngineEntry(FakeWorkerSettings, build_fake, "made-up text at any speed, for load tests and drills"),
}
