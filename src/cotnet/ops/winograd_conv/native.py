"""The native CPU implementation of the 3x3 convolution, and what stands in for it."""

import torch
from torch import Tensor

from cotnet.ops import native_library
from cotnet.ops.panels import empty_output
from cotnet.ops.winograd_conv import contract, reference

_PACK = native_library.PROBLEMS["Conv3x3Problem"].pack


def available(x: Tensor) -> bool:
    """Whether the kernel serves such a map."""
    return x.device.type == "cpu" and x.dtype == torch.float32


def conv(x: Tensor, weight: Tensor, transformed: Tensor, bias: Tensor, groups: int, relu: bool) -> Tensor:
    """[N, C, H, W] to [N, C_out, H, W]."""
    contract.check(x, weight, transformed, bias, groups)
    library = native_library.load()
    if isinstance(library, str) or not available(x):
        return reference.conv(x, weight, transformed, bias, groups, relu)
    x, transformed, bias = x.contiguous(memory_format=torch.channels_last), transformed.contiguous(), bias.contiguous()
    out = empty_output(x, len(weight))
    if out.numel() == 0:
        return out
    batch, channels, height, width = x.shape
    sizes = (torch.get_num_threads(), batch, channels, len(weight), groups, height, width, relu)
    problem = _PACK(*sizes, *(t.data_ptr() for t in (x, transformed, bias, out)))
    native_library.run(library.winograd_conv, problem, what="a convolution", shape=x.shape)
    return out
