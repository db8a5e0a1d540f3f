"""The library of named ops, ``torch.ops.cotnet``: what the definitions of all of them have in common."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

LIBRARY = torch.library.Library("cotnet", "FRAGMENT")
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)  # in the order of the native kernels
TAGS = (torch.Tag.pt2_compliant_tag, torch.Tag.needs_fixed_stride_order)


def register_fake(name: str) -> Callable[[Callable[..., Tensor]], None]:
    """Register what an op of the library returns for tensors without data.

    It also serves calls in which only some of the tensors are on the meta device, and refuses them: nothing would be
    computed.
    """

    def register(fake: Callable[..., Tensor]) -> None:
        def on_one_device(*args: Any) -> Tensor:
            devices = {leaf.device for leaf in tree_leaves(args) if isinstance(leaf, Tensor)}
            if len(devices) > 1:
                raise ValueError(f"expected all tensors on one device, got {', '.join(sorted(map(str, devices)))}")
            return fake(*args)

        torch.library.register_fake(f"cotnet::{name}", on_one_device, lib=LIBRARY)

    return register


def empty_output(like: Tensor, channels: int | None = None) -> Tensor:
    """An uninitialised channels_last map of the size of ``like``, with other ``channels`` if given."""
    shape = (like.shape[0], channels or like.shape[1], *like.shape[2:])
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
