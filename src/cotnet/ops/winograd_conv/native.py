"""The native CPU implementation of the 3x3 convolution, and what stands in for it."""

import torch
from torch import Tensor

from cotnet.ops import native_library
from cotnet.ops.library import empty_output
from cotnet.ops.winograd_conv import contract

_PACK = native_library.PROBLEMS["Conv3x3Problem"].pack


def unavailable(x: Tensor) -> str | None:
    """Why the named op would not run the kernel for such a map, or None where it would.

    Whether there is a library is left to the op: a compiler that traces this question could not follow it there.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return f"expected float32 on the cpu, got {x.dtype} on {x.device.type}"
    return None


def conv(x: Tensor, weight: Tensor, transformed: Tensor, bias: Tensor, groups: int, relu: bool) -> Tensor:
    """[N, C, H, W] to [N, C_out, H, W]."""
    contract.check(x, weight, transformed, bias, groups)
    library = native_library.load()
    if isinstance(library, str) or unavailable(x) is not None:
        return contract.reference(x, weight, transformed, bias, groups, relu)
    x, transformed, bias = x.contiguous(memory_format=torch.channels_last), transformed.contiguous(), bias.contiguous()
    out = empty_output(x, len(weight))
    if out.numel() == 0:
        return out
    batch, channels, height, width = x.shape
    sizes = (torch.get_num_threads(), batch, channels, len(weight), groups, height, width, relu)
    problem = _PACK(*sizes, *(t.data_ptr() for t in (x, transformed, bias, out)))
    native_library.run(library.winograd_conv, problem, what="a convolution", shape=x.shape)
    return out
