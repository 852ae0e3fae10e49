"""Which weights go to which device."""

from typing import Any

import torch

from workers.engines.base import UnloadableError
from workers.engines.hf.settings import HfSettings

SHARE = 0.85  # of a GPU's free memory for weights; the rest is for keys, values and activations


def placement(settings: HfSettings, device: torch.device) -> dict[str, Any]:
    """Options for `from_pretrained`."""
    if settings.num_gpus <= 1 and settings.max_gpu_memory is None:
        return {"device_map": {"": device}}
    if device.type != "cuda":
        raise UnloadableError(f"several GPUs or a limit on GPU memory need --device cuda, not {device}")
    here = torch.cuda.device_count()
    if settings.num_gpus > here:
        raise UnloadableError(f"this machine has {here} GPU(s), not {settings.num_gpus}: lower --num-gpus")
    first = device.index or 0
    gpus = range(first, min(first + max(settings.num_gpus, 1), here))
    free = {gpu: torch.cuda.mem_get_info(gpu)[0] for gpu in gpus}
    return {"device_map": "auto", "max_memory": memory_limits(free, settings.max_gpu_memory)}


def memory_limits(free: dict[int, int], limit: str | None) -> dict[int, int | str]:
    """Most memory for weights on each GPU: the operator's limit, or a share of what is free (bytes)."""
    return {gpu: limit if limit is not None else int(SHARE * bytes_free) for gpu, bytes_free in free.items()}
