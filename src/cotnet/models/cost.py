"""The cost of a network: parameters, and multiply-accumulates as the paper counts them."""

from collections.abc import Callable
from typing import Any

import torch
from timm.layers import BlurPool2d
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

# An element that one of these reads (or, for an activation, writes) counts once; a norm scales and shifts it.
_PER_ELEMENT = {"relu": 1, "relu_": 1, "silu": 1, "silu_": 1, "avg_pool2d": 1, "max_pool2d_with_indices": 1}
_PER_ELEMENT |= {"_adaptive_avg_pool2d": 1, "native_group_norm": 2}


def count_parameters(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, size: int | tuple[int, int], *, channels: int = 3) -> int:
    """Multiply-accumulates for one image, counted as the paper counts them.

    Convolutions, matrix products, attention and local aggregation count by their multiplications. In addition, each
    element of a convolution's bias, of an activation (ReLU, SiLU) and of a pool's input counts once, and each element
    of a BatchNorm or GroupNorm twice. Nothing is computed: only shapes are traced.

    The published numbers of CoTNeXt are higher by one local aggregation, because each half of a layer is counted there
    at the layer's whole width.

    Args:
        model: Any module that takes an image.
        size: Side length of the image, or its height and width, in pixels.
        channels: Number of channels of the image.
    """
    height, width = (size, size) if isinstance(size, int) else size
    modes = {part: part.training for part in model.modules()}
    named: list[tuple[str, Tensor]] = [*model.named_parameters(), *model.named_buffers()]
    shapes = {name: torch.empty_like(value, device="meta") for name, value in named}
    counter = _Counter()
    hooks = []
    for part in model.modules():
        if isinstance(part, BlurPool2d):
            hooks += [part.register_forward_pre_hook(counter.pause), part.register_forward_hook(counter.go_on)]
    try:
        model.eval()
        with torch.no_grad(), counter, torch.device("meta"):
            functional_call(model, shapes, torch.empty(1, channels, height, width))
    finally:
        for hook in hooks:
            hook.remove()
        for part, training in modes.items():
            part.training = training
    return counter.macs


class _Counter(TorchDispatchMode):
    """Adds up the multiply-accumulates of the operators that run under it."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0
        self.paused = False

    def pause(self, *_: Any) -> None:
        """Count nothing from here on."""
        self.paused = True

    def go_on(self, *_: Any) -> None:
        """Count again."""
        self.paused = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if self.paused:
            return out
        packet = func.overloadpacket
        name = packet.__name__
        formula: Callable[..., int] | None = flop_registry.get(packet)
        if formula is not None:
            self.macs += formula(*args, **(kwargs or {}), out_val=out) // 2
            if (name in ("convolution", "_convolution") and args[2] is not None) or name == "addmm":
                self.macs += out.numel()
        elif "batch_norm" in name:
            self.macs += 2 * args[0].numel()
        elif name in _PER_ELEMENT:
            self.macs += _PER_ELEMENT[name] * args[0].numel()
        return out
