"""Which device and number format serve the model."""

import torch

from workers.engines.base import UnloadableError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
KINDS = ("cpu", "cuda", "mps", "xpu", "npu")


def pick_device(wanted: str | None) -> torch.device:
    """The device asked for, or the best one here; raises UnloadableError where it does not exist."""
    if wanted is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = wanted.partition(":")
    if kind not in KINDS or not (index.isdigit() or wanted == kind):
        raise UnloadableError(f"unknown device {wanted!r}: use one of {', '.join(KINDS)}, or a GPU as cuda:1")
    count = device_count(kind)
    if count == 0:
        raise UnloadableError(
            f"this machine has no {kind} device that PyTorch {torch.__version__} can use: try --device cpu"
        )
    if index and int(index) >= count:
        raise UnloadableError(f"there is no {wanted}: this machine has {count} {kind} device(s), counted from 0")
    return torch.device(wanted)


def device_count(kind: str) -> int:
    """How many devices of this kind PyTorch can use here."""
    if kind == "cpu":
        return 1
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    module = getattr(torch, kind, None)  # torch.npu exists only where torch_npu is installed
    return int(module.device_count()) if module is not None and module.is_available() else 0


def pick_dtype(wanted: str, device: torch.device, checkpoint: torch.dtype | None) -> torch.dtype:
    """The format asked for, or for "auto" the checkpoint's own where the device computes well in it."""
    if wanted == "auto":
        return auto_dtype(device, checkpoint or torch.float32)
    if wanted not in DTYPES:
        raise UnloadableError(f"unknown dtype {wanted!r}: use auto, {', '.join(DTYPES)}")
    if wanted == "float16" and device.type == "cpu":
        raise UnloadableError("CPUs do not compute in float16: use --dtype bfloat16 or float32")
    if wanted == "bfloat16" and device.type == "cuda" and not has_bfloat16(device):
        raise UnloadableError("this GPU does not compute in bfloat16: use --dtype float16 or float32")
    return DTYPES[wanted]


def auto_dtype(device: torch.device, checkpoint: torch.dtype) -> torch.dtype:
    """The checkpoint's format, or the nearest one that the device computes in natively."""
    if checkpoint not in DTYPES.values():
        checkpoint = torch.bfloat16  # an 8-bit float or the like: computing needs a wider one
    if checkpoint is torch.float32 or has_bfloat16(device):
        return torch.bfloat16 if checkpoint is torch.float16 and device.type == "cpu" else checkpoint
    return torch.float32 if device.type == "cpu" else torch.float16


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 in hardware, not by emulation."""
    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8 or torch.version.hip is not None
    return True
