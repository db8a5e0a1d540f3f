"""3x3 convolutions by minimal filtering, or directly in narrow groups, where that is faster on a CPU."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import has_torch_function_unary

from cotnet.ops.dispatch import exporting
from cotnet.ops.fused_cot import StaticConv
from cotnet.ops.winograd_conv import is_narrow, transform, winograd_conv

# Channels of a group: narrower ones leave vectors partly empty, or spend most of the time on transforms.
_NARROWEST_DIRECT, _NARROWEST = 8, 24
# With fewer pixels per input channel of a group, reading the transformed weights, 16 / 9 as many, costs too much.
_LEAST_PIXELS = 1 / 3


class WinogradConv(nn.Conv2d):
    """A 3x3 convolution for inference, and ReLU if asked for: [N, C, H, W] to [N, C_out, H, W].

    Args:
        conv: The convolution, with a bias, for which ``suits`` holds.
        relu: Apply ReLU to the output.
    """

    transformed: Tensor

    def __init__(self, conv: nn.Conv2d, *, relu: bool = False):
        super().__init__(conv.in_channels, conv.out_channels, 3, padding=1, groups=conv.groups, device="meta")
        assert conv.bias is not None
        self.weight, self.bias, self.relu = conv.weight, conv.bias, relu
        self.register_buffer("transformed", transform(conv.weight.detach(), conv.groups), persistent=False)
        self.register_load_state_dict_post_hook(WinogradConv._refresh)
        self.eval()

    @staticmethod
    def suits(conv: nn.Module) -> bool:
        """Whether a convolution can be computed this way, and faster."""
        if not isinstance(conv, nn.Conv2d):
            return False
        direct = is_narrow(conv.in_channels, conv.out_channels, conv.groups)
        narrowest = _NARROWEST_DIRECT if direct else _NARROWEST
        return (
            conv.kernel_size == (3, 3)
            and conv.stride == conv.dilation == (1, 1)
            and conv.padding in ((1, 1), "same")
            and conv.padding_mode == "zeros"
            and min(conv.in_channels, conv.out_channels) >= narrowest * conv.groups
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "WinogradConv":
        """As every module does it; the weight is then transformed anew, so that a change of dtype rounds once."""
        super()._apply(fn, recurse)
        self._refresh()
        return self

    def _refresh(self, incompatible_keys: object = None) -> None:
        # A new tensor: the old one may be of another dtype, or on another device.
        self.transformed = transform(self.weight.detach(), self.groups)

    def parts(self) -> StaticConv:
        """What ``fused_cot`` needs to compute this convolution itself, together with its ReLU."""
        assert self.bias is not None
        assert self.relu
        return StaticConv(self.weight, self.transformed, self.bias, self.groups)

    def gains(self, input: Tensor) -> bool:
        """Whether minimal filtering is the faster way for this input."""
        if exporting():  # the convolution itself, whose layout puts no guard on the batch size
            return False
        pixels = input.shape[0] * input.shape[2] * input.shape[3]
        # Under autocast the dtypes differ, and the convolution itself casts.
        return pixels >= _LEAST_PIXELS * self.weight.shape[1] and input.dtype == self.weight.dtype

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C_out, H, W]."""
        assert self.bias is not None
        if has_torch_function_unary(input) or not self.gains(input):  # the former where it is traced symbolically
            y = super().forward(input)
            return F.relu(y) if self.relu else y
        return winograd_conv(input, self.weight, self.transformed, self.bias, groups=self.groups, relu=self.relu)

    def extra_repr(self) -> str:
        """That of a convolution, with the ReLU."""
        return super().extra_repr() + (", relu=True" if self.relu else "")
