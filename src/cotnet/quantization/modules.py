"""What a quantized network is made of."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cotnet.fusing.cot import FusedCoT
from cotnet.ops.fused_cot import ContextParameters, Projections, unpack
from cotnet.ops.int8_conv import ConvGeometry, Requantization, int8_conv, int8_conv_to_float
from cotnet.ops.int8_cot import CoTScales, IntegerConv, int8_cot
from cotnet.ops.int8_pool import PoolGeometry, int8_pool
from cotnet.ops.int8_quantize import int8_dequantize, int8_quantize
from cotnet.quantization.scales import ByteScale, IntegerWeight, integer_weight


class Int8Module(nn.Module):
    """A part of a quantized network, for inference only; numbers that its integers stand for are in a buffer.

    Args:
        scales: Of the maps that come in and go out.
    """

    scales: Tensor

    def __init__(self, scales: Sequence[ByteScale]):
        super().__init__()
        # float64: int8 networks keep it under `.to(torch.bfloat16)` as they keep their integers, see `_apply`.
        self.register_buffer("scales", torch.tensor([tuple(s) for s in scales], dtype=torch.float64).reshape(-1, 2))
        self.register_load_state_dict_post_hook(Int8Module._loaded)

    def _loaded(self, incompatible_keys: object = None) -> None:
        self._refresh()

    def _scale(self, number: int) -> ByteScale:
        scale, zero = self.scales[number].tolist()
        return ByteScale(scale, int(zero))

    def _refresh(self) -> None:
        """Make what follows from the buffers anew."""

    def _apply(self, fn: Any, recurse: bool = True) -> "Int8Module":
        """To another device, but never to another dtype."""

        def same_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(same_dtype, recurse)
        self._refresh()
        return self

    def train(self, mode: bool = True) -> "Int8Module":
        """Stay in eval mode.

        Raises:
            RuntimeError: Training is asked for.
        """
        refuse_training(mode)
        return super().train(False)


def refuse_training(mode: bool) -> None:
    """Raise ``RuntimeError`` where training is asked for."""
    if mode:
        raise RuntimeError(
            "a quantized network serves inference only; train the network that it was made from, then quantize it again"
        )


class Quantize(Int8Module):
    """float32 [N, C, H, W] to bytes."""

    def __init__(self, scale: ByteScale):
        super().__init__([scale])
        self._refresh()

    def _refresh(self) -> None:
        scale, self._zero = self._scale(0)
        self._multiplier = 1 / scale

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, C, H, W] or [N, C] to uint8 of the same shape."""
        if x.ndim == 2:
            return int8_quantize(x.float()[..., None, None], self._multiplier, self._zero).flatten(1)
        return int8_quantize(x.float(), self._multiplier, self._zero)


class Dequantize(Int8Module):
    """Bytes to float32."""

    def __init__(self, scale: ByteScale):
        super().__init__([scale])
        self._refresh()

    def _refresh(self) -> None:
        self._of = self._scale(0)

    def forward(self, x: Tensor) -> Tensor:
        """uint8 of any shape to float32."""
        return int8_dequantize(x, *self._of)


class GlobalAverage(Dequantize):
    """The mean of each channel, uint8 [N, C, H, W] to float32 [N, C, 1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        """uint8 [N, C, H, W] to float32 [N, C, 1, 1]."""
        scale, zero = self._of
        return (x.float().mean((2, 3), keepdim=True) - zero) * scale


class Int8Pool(Int8Module):
    """Maxima or averages of windows, bytes to bytes of the same scale."""

    def __init__(self, geometry: PoolGeometry, scale: ByteScale, *, maximum: bool, counts_padding: bool = True):
        super().__init__([scale])
        self.geometry, self.maximum, self.counts_padding = geometry, maximum, counts_padding
        self._refresh()

    def _refresh(self) -> None:
        self._zero = self._scale(0).zero

    def forward(self, x: Tensor) -> Tensor:
        """uint8 [N, C, H, W] to uint8 [N, C, I, J]."""
        return int8_pool(x, self.geometry, maximum=self.maximum, counts_padding=self.counts_padding, in_zero=self._zero)


class Int8Conv(Int8Module):
    """A convolution, perhaps with a skip added, perhaps with ReLU; bytes to bytes, or to floats.

    Args:
        weight: Its weight and bias as integers.
        geometry: Which inputs an output takes.
        source: What the input's bytes stand for.
        out: What the output's bytes stand for; None for float32.
        skip: What the skip's bytes stand for, where there is one.
        relu: Apply ReLU.
    """

    weight: Tensor
    bias: Tensor
    sums_scale: Tensor
    multiplier: Tensor

    def __init__(
        self,
        weight: IntegerWeight,
        geometry: ConvGeometry,
        source: ByteScale,
        out: ByteScale | None,
        skip: ByteScale | None = None,
        *,
        relu: bool = False,
    ):
        super().__init__([source, *(s for s in (out, skip) if s is not None)])
        self.geometry, self.relu, self.to_float, self.skips = geometry, relu, out is None, skip is not None
        self.register_buffer("weight", weight.panels)
        self.register_buffer("bias", weight.bias)
        self.register_buffer("sums_scale", weight.scale)
        self.register_buffer("multiplier", torch.empty(0), persistent=False)
        self._refresh()

    def _refresh(self) -> None:
        source, out = self._scale(0), ByteScale(1.0, 0) if self.to_float else self._scale(1)
        self.multiplier = (self.sums_scale / out.scale).float()
        skip = self._scale(2) if self.skips else ByteScale(0.0, 0)
        lowest = out.zero if self.relu else 0
        self._requantization = Requantization(source.zero, out.zero, lowest, skip.scale / out.scale, skip.zero)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """uint8 [N, C, H, W] to uint8, or float32, [N, C_out, I, J]."""
        tensors = (x, self.weight, self.bias, self.multiplier, self.geometry)
        if not self.to_float:
            return int8_conv(*tensors, self._requantization, skip=skip)
        y = int8_conv_to_float(*tensors, self._requantization.in_zero)
        return y.relu_() if self.relu else y

    def extra_repr(self) -> str:
        """The options that the buffers do not show."""
        return f"{self.geometry}, relu={self.relu}, skip={self.skips}, to_float={self.to_float}"


class Int8Linear(Int8Conv):
    """A fully connected layer, uint8 [N, C] to float32 [N, C_out]."""

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """uint8 [N, C] to float32 [N, C_out]."""
        return super().forward(x[..., None, None]).flatten(1)


class Int8CoT(Int8Module):
    """A CoT or CoXt layer, bytes to bytes.

    Args:
        layer: The layer in floats.
        source: What the input's bytes stand for.
        static: Those of the static context, whose zero is 0.
        hidden: Those of the attention's hidden channels, whose zero is 0.
        out: Those of the output.
        means: Of the channels of the input, the static context and the hidden channels, for the correction of biases;
            none for no correction.
    """

    _CONVS = ("static", "reduce", "expand", "value")

    def __init__(
        self,
        layer: FusedCoT,
        source: ByteScale,
        static: ByteScale,
        hidden: ByteScale,
        out: ByteScale,
        means: Sequence[Tensor] = (),
    ):
        super().__init__([source, static, hidden, out])
        self.kernel_size, self.dilation, self.groups, self.eps = (
            layer.kernel_size,
            layer.dilation,
            layer.groups,
            layer.eps,
        )
        conv = static_conv(layer)
        self.static_groups = conv.groups
        of_x, of_static, of_hidden = means or (None, None, None)
        both = None if of_x is None or of_static is None else torch.stack([of_x, of_static])
        floats, groups = Projections(*(getattr(layer, name) for name in Projections._fields)), layer.groups
        channels = floats.value_bias.numel()
        reduce = unpack(floats.reduce, floats.reduce_bias.numel(), groups).unflatten(1, (2, channels // groups))
        # Both inputs add up to one sum: the weights carry their scales.
        steps = torch.tensor([source.scale, static.scale], dtype=torch.float64)[:, None]
        zeros = torch.tensor([source.zero, 0], dtype=torch.float64)[:, None]
        values = {
            "static": corrected(conv.weight.flatten(2).transpose(1, 2), conv.bias, source, conv.groups, of_x),
            "reduce": _corrected_sum(reduce.double(), floats.reduce_bias, steps, zeros, groups, both),
            "expand": corrected(
                unpack(floats.expand, floats.expand_bias.numel(), groups)[:, None],
                floats.expand_bias,
                hidden,
                groups,
                of_hidden,
            ),
            "value": corrected(
                unpack(floats.value, channels, groups)[:, None], floats.value_bias, source, groups, of_x
            ),
        }
        for name, value in values.items():
            self.register_buffer(name, value.panels)
            self.register_buffer(f"{name}_bias", value.bias)
            self.register_buffer(f"{name}_sums_scale", value.scale)
            self.register_buffer(f"{name}_multiplier", torch.empty(0), persistent=False)
        for name in ContextParameters._fields:
            tensor = getattr(layer, name)
            self.register_buffer(name, None if tensor is None else tensor.detach().float().clone())
        self._refresh()

    def _refresh(self) -> None:
        source, static, hidden, out = map(self._scale, range(4))
        for name, scale in zip(self._CONVS, (static.scale, hidden.scale, 1.0, 1.0), strict=True):
            setattr(self, f"{name}_multiplier", (getattr(self, f"{name}_sums_scale") / scale).float())
        self._cot_scales = CoTScales(source.zero, static.scale, 1 / out.scale, out.zero)

    def forward(self, x: Tensor) -> Tensor:
        """uint8 [N, C, H, W] to uint8 of the same shape."""
        convolutions = tuple(
            IntegerConv(getattr(self, n), getattr(self, f"{n}_bias"), getattr(self, f"{n}_multiplier"))
            for n in self._CONVS
        )
        parameters = ContextParameters(*(getattr(self, name) for name in ContextParameters._fields))
        return int8_cot(
            x,
            convolutions,  # type: ignore[arg-type]
            parameters,
            self._cot_scales,
            self.eps,
            self.kernel_size,
            dilation=self.dilation,
            groups=self.groups,
            static_groups=self.static_groups,
        )

    def extra_repr(self) -> str:
        """The options that the buffers do not show."""
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, groups={self.groups}"


def static_conv(layer: FusedCoT) -> nn.Conv2d:
    """The convolution that makes a fused layer's static context."""
    context = layer.static_context
    conv = context[0] if isinstance(context, nn.Sequential) else context
    assert isinstance(conv, nn.Conv2d)
    return conv


def corrected(
    weight: Tensor, bias: Tensor | None, source: ByteScale, groups: int, means: Tensor | None
) -> IntegerWeight:
    """A weight as integers, its bias corrected by what rounding the weight changes in the mean of the outputs.

    Args:
        weight: [C_out, T, C_in / B].
        bias: [C_out], or None.
        source: What the input's bytes stand for.
        groups: Number of groups B.
        means: Of the input's channels, [C_in]; None for no correction.
    """
    if bias is None:
        bias = weight.new_zeros(len(weight))
    whole = integer_weight(weight, bias, source.scale, source.zero, groups)
    if means is None:
        return whole
    lost = (weight.detach().double() - whole.rounded).sum(1)
    by_group = means.unflatten(0, (groups, -1)).repeat_interleave(len(weight) // groups, 0)
    return integer_weight(weight, bias.detach().double() + (lost * by_group).sum(1), *source, groups)


def _corrected_sum(
    weight: Tensor, bias: Tensor, steps: Tensor, zeros: Tensor, groups: int, means: Tensor | None
) -> IntegerWeight:
    """As ``corrected``, of a weight [S, 2, C / B] for two inputs; ``steps`` and ``zeros`` [2, 1], ``means`` [2, C]."""
    scaled = weight * steps
    whole = integer_weight(scaled, bias, 1.0, zeros, groups)
    if means is None:
        return whole
    lost = (scaled - whole.rounded) / steps
    by_group = means.unflatten(1, (groups, -1)).transpose(0, 1).repeat_interleave(len(weight) // groups, 0)
    return integer_weight(scaled, bias.detach().double() + (lost * by_group).sum((1, 2)), 1.0, zeros, groups)
