"""Linear layers with weights in oneDNN's own order: the same numbers, up to three times as fast on a CPU."""

from collections.abc import Iterator

import torch
from torch import nn


class PackedLinear(nn.Module):
    """Does the work of an nn.Linear; it has no `weight` that could be read."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        # 32 rows is the size that the order is chosen for; it serves every other size too.
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), 32)
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x @ weight.T + bias."""
        done: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return done


class Veiled(nn.Module):
    """An nn.Linear without a readable weight: shows whether a model calls its linear layers or reads their weights."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The hidden layer's own result."""
        done: torch.Tensor = self.linear(x)
        return done


def linears(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """(parent, name, layer) of each plain linear layer that can be packed. Quantised ones are other types."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and child.weight.dtype in (torch.float32, torch.bfloat16):
                yield parent, name, child


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN packs weights of this kind here."""
    if device.type != "cpu" or not torch._C._has_mkldnn:
        return False
    return dtype is torch.float32 or (dtype is torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def pack(model: nn.Module) -> None:
    """Replace the plain linear layers one by one, so that only one weight exists twice at any moment."""
    for parent, name, linear in linears(model):
        setattr(parent, name, PackedLinear(linear))


def is_packed(model: nn.Module) -> bool:
    """Whether `pack` has replaced any layer."""
    return any(isinstance(layer, PackedLinear) for layer in model.modules())


def veil(model: nn.Module) -> None:
    """Hide the weights of the plain linear layers."""
    for parent, name, linear in linears(model):
        if not isinstance(parent, Veiled):
            setattr(parent, name, Veiled(linear))


def unveil(model: nn.Module) -> None:
    """Undo `veil`."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Veiled):
                setattr(parent, name, child.linear)
