"""The memory that a network needs, by shapes alone, and the memory that the machine has."""

import copy
import math
import os
from typing import Any

import torch
from torch import Tensor, nn


def largest_output(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Elements of the largest output of any part of a network in training, by shapes alone.

    Args:
        network: Any network; a copy of it is used.
        shape: Of its input.

    Raises:
        RuntimeError: It does not take such an input.
    """
    sizes = [0]

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        sizes.append(output.numel() if isinstance(output, Tensor) else 0)

    shapes_only = copy.deepcopy(network).to("meta").train()
    for part in shapes_only.modules():
        part.register_forward_hook(note)
    shapes_only(torch.empty(shape, device="meta"))
    return max(sizes)


def memory_bytes() -> float:
    """The machine's memory; infinite where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return math.inf
