"""The native CPU implementation of pooling of bytes."""

import torch
from torch import Tensor

from cotnet.ops import native_library
from cotnet.ops.int8_conv.native import dense
from cotnet.ops.int8_pool import reference
from cotnet.ops.int8_pool.contract import PoolGeometry, check

_PACK = native_library.PROBLEMS["Int8PoolProblem"].pack


def pool(x: Tensor, geometry: PoolGeometry, maximum: bool, counts_padding: bool, in_zero: int) -> Tensor:
    """uint8 [N, C, H, W] to uint8 [N, C, I, J]."""
    shape = check(x, geometry)
    library = native_library.load()
    if isinstance(library, str):
        return reference.pool(x, geometry, maximum, counts_padding, in_zero)
    out = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
    if out.numel() == 0:
        return out
    x = dense(x)
    kernel, stride, padding, _ = geometry
    options = (*kernel, *stride, *padding, in_zero, maximum, counts_padding)
    problem = _PACK(torch.get_num_threads(), *x.shape, *shape[2:], *options, x.data_ptr(), out.data_ptr())
    native_library.run(library.int8_pool, problem, what="pooling", shape=x.shape)
    return out
