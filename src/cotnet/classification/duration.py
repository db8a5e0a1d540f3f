"""How long a training on the CPU would take, so that nobody finds out after an hour."""

from torch import nn

from cotnet.files.machine import available_cpus
from cotnet.models import count_macs

# What one processor of 2020 or later does per second in training, forward and backward: 28 to 60e9 were measured.
_MACS_PER_S = 3e10
_LONG_H = 1.0
_SMALLER = (("cotnet18", 224), ("cotnet18_half", 224), ("cotnet_nano", 64))


def long_training(network: nn.Module, name: str, *, size: int, images: int, epochs: int) -> str | None:
    """A note on a training that takes hours on this machine's processors, None for a shorter one.

    Args:
        network: The network.
        name: Its name.
        size: Side of its images in pixels.
        images: Training images of an epoch.
        epochs: Number of epochs.
    """
    try:
        macs = count_macs(network, size)
    except (RuntimeError, ValueError, TypeError, NotImplementedError):  # a network that shapes alone cannot run
        return None
    hours = 3 * macs * images * epochs / (_MACS_PER_S * available_cpus()) / 3600
    if hours < _LONG_H:
        return None
    smaller = [f"{other} ({pixels} pixels)" for other, pixels in _SMALLER if other != name]
    smallest, pixels = _SMALLER[-1]
    return (
        f"{name} at {size} pixels needs about {hours:,.0f} h for {epochs} epochs of {images:,} images on this "
        f"machine's processors; smaller are {', '.join(smaller)}: --model.name {smallest} --data.size {pixels}"
    )
