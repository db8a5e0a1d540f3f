"""What the spatial mixers share: checks of their options, and how their weights start."""

import torch
from torch import nn

Device = torch.device | str | None


def check_layer(layer: str, dim: int, kernel_size: int, dilation: int, *, divisor: int) -> None:
    """Raise ``ValueError`` that shows the value which does not fit, and the nearest that would."""
    if dim < divisor or dim % divisor:
        below, above = dim // divisor * divisor, max(dim // divisor + 1, 1) * divisor
        nearest = f"{below} or {above}" if below > 0 else str(above)
        raise ValueError(f"{layer} needs a dim divisible by {divisor}, got {dim=}; the nearest are {nearest}")
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"{layer} needs an odd kernel_size of at least 1, got {kernel_size=}")
    if dilation < 1:
        raise ValueError(f"{layer} needs a dilation of at least 1, got {dilation=}")


def check_heads(heads: int) -> None:
    """Raise ``ValueError`` where there is no head."""
    if heads < 1:
        raise ValueError(f"attention needs at least one head, got {heads=}")


def init_weights(module: nn.Module) -> None:
    """Start every convolution kaiming-normal (fan-out), then call ``init_weights`` of each part that has one."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    for part in module.modules():
        own_init = getattr(part, "init_weights", None)
        if callable(own_init):
            own_init()
