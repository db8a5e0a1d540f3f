"""The memory layout of a network's weights."""

from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def to_layout(network: Network, memory_format: torch.memory_format) -> Network:
    """Lay out the [out, in, height, width] weights of a network in place; others, as of 3-d convolutions, are kept.

    ``Module.to`` lays out weights of five dimensions as well, and fails where the layout is channels_last.

    Args:
        network: The network, which is changed.
        memory_format: The layout, such as ``torch.channels_last``.

    Returns:
        The network itself.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=memory_format)
    return network
