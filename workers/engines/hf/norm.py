"""RMS norms as one fused operation, where a model's own class computes the plain formula step by step."""

import torch
from torch import nn
from torch.nn import functional


class FusedRmsNorm(nn.Module):
    """x / rms(x) · weight, in one pass."""

    def __init__(self, weight: nn.Parameter, eps: float) -> None:
        super().__init__()
        self.weight = weight
        self.eps = eps

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The norm over the last dimension."""
        return functional.rms_norm(hidden_states, self.weight.shape, self.weight, self.eps)


def fuse(model: nn.Module) -> None:
    """Replace each RMS norm whose fused form agrees with it; Gemma's 1 + weight, say, does not."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            fused = fused_form(child)
            if fused is not None and agrees(child, fused):
                setattr(parent, name, fused)


def is_fused(model: nn.Module) -> bool:
    """Whether `fuse` has replaced any norm."""
    return any(isinstance(norm, FusedRmsNorm) for norm in model.modules())


def fused_form(norm: nn.Module) -> FusedRmsNorm | None:
    """What a norm would be if it is of the plain kind."""
    weight, eps = getattr(norm, "weight", None), getattr(norm, "variance_epsilon", None)
    if (
        not type(norm).__name__.endswith("RMSNorm")
        or not isinstance(weight, nn.Parameter)
        or not isinstance(eps, float)
    ):
        return None
    return FusedRmsNorm(weight, eps)


def agrees(norm: nn.Module, fused: FusedRmsNorm) -> bool:
    """Whether both give the same for random input, to the format's rounding."""
    x = torch.randn(4, *fused.weight.shape, generator=torch.Generator().manual_seed(0))
    x = x.to(fused.weight)
    tolerance = 4 * torch.finfo(x.dtype).eps
    try:
        expected = norm(x)
    except TypeError:  # a norm that takes more than its input: leave it alone
        return False
    return torch.allclose(expected, fused(x), rtol=tolerance, atol=tolerance)
