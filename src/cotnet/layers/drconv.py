"""Dynamic region-aware convolution of *Dynamic Region-Aware Convolution*, arXiv 2003.12243."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotnet.layers._common import Device, check_layer


class DRConv(nn.Module):
    """Every position picks one of m filters that are generated from the image: [N, C, H, W] to [N, C, H, W].

    A k x k convolution makes a guide of m channels; a position belongs to the region whose guide is largest there. Each
    region has its own k x k filter bank, generated from the input pooled to k x k. In the backward pass the guide has
    the gradient of a softmax instead of that of the hard choice.

    Parameters: ``k * k * m * C + m * m * C + m * m * C * C``. Multiply-accumulates: ``m * k * k * (C * C + C)`` per
    position, since all m filters are applied everywhere, and ``m * m * k * k * C * C`` per image to generate them.

    Args:
        dim: Channels C.
        kernel_size: Odd window size k.
        dilation: Distance between neighbouring cells of the window.
        regions: Number m of filters; the paper uses 8 in networks of few channels. Parameters grow with its square.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Raises:
        ValueError: An even window, or a number out of range.
    """

    def __init__(
        self,
        dim: int,
        kernel_size: int = 3,
        *,
        dilation: int = 1,
        regions: int = 4,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        check_layer("DRConv", dim, kernel_size, dilation, divisor=1)
        if regions < 1:
            raise ValueError(f"DRConv needs at least one region, got {regions=}")
        self.kernel_size, self.dilation, self.regions = kernel_size, dilation, regions
        padding = dilation * (kernel_size // 2)
        options: dict[str, Any] = {"bias": False, "device": device, "dtype": dtype}
        self.guide = nn.Conv2d(dim, regions, kernel_size, padding=padding, dilation=dilation, **options)
        self.squeeze = nn.Conv2d(dim, regions * regions, 1, **options)
        self.generate = nn.Conv2d(regions * regions, regions * dim * dim, 1, groups=regions, **options)
        self.init_weights()

    def init_weights(self) -> None:
        """Start so that the generated filters, sums over m gates of about a half, are kaiming-normal."""
        fan_in = self.kernel_size * self.kernel_size * self.squeeze.in_channels
        nn.init.normal_(self.generate.weight, std=(2 / fan_in) ** 0.5 / (0.5 * self.regions**0.5))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W]."""
        batch, dim = x.shape[:2]
        filters = self.filters(x).flatten(0, 2)
        padding = self.dilation * (self.kernel_size // 2)
        # One group per image, so that each is filtered by its own filters.
        regional = F.conv2d(x.flatten(0, 1)[None], filters, padding=padding, dilation=self.dilation, groups=batch)
        regional = regional.squeeze(0).unflatten(0, (batch, self.regions, dim))
        return (regional * self.choice(x)[:, :, None]).sum(1)

    def filters(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to a filter bank for each region, [N, m, C out, C in, k, k]."""
        pooled = torch.sigmoid(self.squeeze(F.adaptive_avg_pool2d(x, self.kernel_size)))
        return self.generate(pooled).unflatten(1, (self.regions, x.shape[1], x.shape[1]))

    def choice(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, m, H, W]: 1 for the chosen region, 0 for the others, with the gradient of the softmax."""
        guide = self.guide(x)
        hard = F.one_hot(guide.argmax(1), self.regions).movedim(-1, 1).to(guide.dtype)
        soft = guide.softmax(1)
        return hard + (soft - soft.detach())

    def extra_repr(self) -> str:
        """The options that the submodules do not show."""
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, regions={self.regions}"
