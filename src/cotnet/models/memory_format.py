"""The memory layout of a network's weights."""

from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def to_layout(network: Network, memory_format: torch.memory_format) -> Network:
    """The network itself, its [out, in, height, width] weights in a layout; others, as of 3-d convolutions, stay.

    `Module.to` lays out weights of five dimensions, too, and fails where the layout is channels_last.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=memory_format)
    return network
