"""The reference implementation of pooling of bytes: plain PyTorch, any device, traceable."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cotnet.ops.int8_panels import requantize
from cotnet.ops.int8_pool.contract import PoolGeometry


def pool(x: Tensor, geometry: PoolGeometry, maximum: bool, counts_padding: bool, in_zero: int) -> Tensor:
    """uint8 [N, C, H, W] to uint8 [N, C, I, J]."""
    kernel, stride, padding, ceil_mode = geometry
    if maximum:
        y = F.max_pool2d(x.float(), kernel, stride, padding, ceil_mode=ceil_mode).to(torch.uint8)
        return y.contiguous(memory_format=torch.channels_last)

    def sums(of: Tensor) -> Tensor:
        # With a divisor of 1 an average is a sum; float64 holds it exactly.
        return F.avg_pool2d(of, kernel, stride, padding, ceil_mode=ceil_mode, divisor_override=1)

    ones = torch.ones(1, 1, *x.shape[2:], dtype=torch.float64, device=x.device)
    inside = sums(ones)
    counts = inside
    if counts_padding:  # what lies on the padding, but not beyond it
        wide = F.pad(ones, (padding[1], padding[1], padding[0], padding[0]), value=1)
        counts = F.avg_pool2d(wide, kernel, stride, ceil_mode=ceil_mode, divisor_override=1)
        counts = counts[..., : inside.shape[2], : inside.shape[3]]
    total = sums(x.double()) + (counts - inside) * in_zero
    y = total.float() * (1 / counts.float())
    return requantize(y, 0, 0).contiguous(memory_format=torch.channels_last)
