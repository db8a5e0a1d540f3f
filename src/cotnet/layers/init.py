"""How weights start."""

from torch import nn


def init_weights(module: nn.Module) -> None:
    """Start every convolution kaiming-normal (fan-out), then whatever has an `init_weights` of its own by that."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    for part in module.modules():
        own = getattr(part, "init_weights", None)
        if callable(own):
            own()
