"""A CoT or CoXt layer for inference: the same answers from folded norms and one operator.

Legend: N batch, C channels, G heads, T taps = k * k, H x W size.
"""

import copy
from collections.abc import Hashable, Iterator

import torch
from torch import Tensor, nn
from torch.overrides import has_torch_function_unary

from cotnet.fusing.batch_norm import TakesNorm, affine, fold_norm, foldable_norm, folded_conv
from cotnet.fusing.winograd import WinogradConv
from cotnet.layers import CoTLayer, CoXtLayer
from cotnet.layers.norm import refuse_training
from cotnet.ops.fused_cot import ContextParameters, Projections, StaticConv, fused_cot, pack
from cotnet.ops.plain import is_plain_module


class FusedCoT(TakesNorm):
    """A CoT layer for inference, [N, C, H, W] to [N, C, H, W] in channels_last.

    The static context is a convolution, which the operator ``fused_cot`` computes itself where it is a
    ``WinogradConv``; everything after it is ``fused_cot``. The parameters are the layer's, with every BatchNorm folded
    in and the attention's channels ordered by tap, then by head. A BatchNorm that follows the layer can be folded in as
    well, by ``with_norm``.

    Args:
        layer: A trained ``CoTLayer`` or ``CoXtLayer`` that ``obstacle`` has nothing against; it is not changed.
    """

    excite_bias: nn.Parameter
    out_scale: nn.Parameter | None
    out_bias: nn.Parameter | None

    def __init__(self, layer: CoTLayer | CoXtLayer):
        super().__init__()
        attention, fusion = layer.attention, layer.fusion
        self.kernel_size, self.dilation, self.groups = layer.kernel_size, layer.dilation, attention.groups
        self.eps = attention.norm.eps
        static = folded_conv(layer.static_context.conv, layer.static_context.norm)
        self.static_context: nn.Module = (
            WinogradConv(static, relu=True)
            if WinogradConv.suits(static)
            else nn.Sequential(static, nn.ReLU(inplace=True))
        )

        reduce, reduce_bias = fold_norm(attention.reduce.conv, attention.reduce.norm)
        if self.groups > 1:  # the input's and the static context's channels interleave
            reduce = reduce.unflatten(1, (-1, 2)).transpose(1, 2).flatten(1, 2)
        value, value_bias = fold_norm(layer.value.conv, layer.value.norm)
        # Aggregation is linear in each channel of the value, so the scale of the norm behind it can come before it.
        scale, dynamic_bias = affine(layer.dynamic_norm)
        squeeze, squeeze_bias = fold_norm(fusion.reduce, fusion.norm)
        logits, logit_bias = fusion.expand.weight.flatten(1).double(), fusion.expand.bias.double()  # type: ignore[union-attr]
        assert attention.expand.bias is not None
        tensors = {
            "reduce": pack(reduce.flatten(1), self.groups),
            "reduce_bias": reduce_bias,
            "expand": pack(self._by_tap(attention.expand.weight.flatten(1)), self.groups),
            "expand_bias": self._by_tap(attention.expand.bias),
            "value": pack(value.flatten(1) * scale[:, None], self.groups),
            "value_bias": value_bias * scale,
            "norm_weight": self._by_tap(attention.norm.weight),
            "norm_bias": self._by_tap(attention.norm.bias),
            "dynamic_bias": dynamic_bias,
            "squeeze": squeeze.flatten(1),
            "squeeze_bias": squeeze_bias,
            "excite": logits[0::2] - logits[1::2],
            "excite_bias": logit_bias[0::2] - logit_bias[1::2],
        }
        dtype = layer.value.conv.weight.dtype
        for name, tensor in tensors.items():
            self.register_parameter(name, nn.Parameter(tensor.detach().to(dtype).clone(), requires_grad=False))
        self.register_parameter("out_scale", None)
        self.register_parameter("out_bias", None)
        self.eval()

    def with_norm(self, norm: nn.Module) -> "FusedCoT":
        """A copy that does what the layer and then ``norm`` in eval mode do."""
        scale, bias = affine(norm)
        if self.out_scale is not None and self.out_bias is not None:
            scale, bias = self.out_scale * scale, self.out_bias * scale + bias
        both = copy.deepcopy(self)
        dtype = self.excite_bias.dtype
        both.out_scale = nn.Parameter(scale.to(dtype), requires_grad=False)
        both.out_bias = nn.Parameter(bias.to(dtype), requires_grad=False)
        return both

    def _by_tap(self, x: Tensor) -> Tensor:
        """[G * T, ..] to [groups * T * G / groups, ..]."""
        taps = self.kernel_size * self.kernel_size
        return x.unflatten(0, (self.groups, -1, taps)).transpose(1, 2).flatten(0, 2)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W]."""
        conv = self.static_context
        if has_torch_function_unary(x):  # traced symbolically, or of a derived class
            return self._fused(x, conv(x))
        device = x.device.type
        autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else self.excite_bias.dtype
        x = x.to(dtype).contiguous(memory_format=torch.channels_last)
        if isinstance(conv, WinogradConv) and is_plain_module(conv, WinogradConv) and conv.gains(x):
            return self._fused(x, conv.parts(), dtype)
        return self._fused(x, conv(x), dtype)

    def _fused(self, x: Tensor, static: Tensor | StaticConv, dtype: torch.dtype | None = None) -> Tensor:
        """Everything after the static context, or together with it, with the parameters cast to ``dtype`` if given."""
        projections = [getattr(self, name) for name in Projections._fields]
        tail = [t for name in ContextParameters._fields if (t := getattr(self, name)) is not None]
        if dtype is not None and dtype != self.excite_bias.dtype:
            projections, tail = [t.to(dtype) for t in projections], [t.to(dtype) for t in tail]
        return fused_cot(
            x,
            static,
            Projections(*projections),
            ContextParameters(*tail),
            self.eps,
            self.kernel_size,
            dilation=self.dilation,
            groups=self.groups,
        )

    def train(self, mode: bool = True) -> "FusedCoT":
        """Stay in eval mode.

        Raises:
            RuntimeError: Training is asked for.
        """
        refuse_training(mode)
        return super().train(False)

    def extra_repr(self) -> str:
        """The options that the parameters do not show."""
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, groups={self.groups}"


def obstacle(layer: CoTLayer | CoXtLayer) -> str | None:
    """Why a layer cannot become a ``FusedCoT`` of the same answers, or None where it can.

    It can where every part is as the constructor makes it, except for its values and for other kinds of BatchNorm.
    """
    if not is_plain_module(layer, CoTLayer, CoXtLayer):
        return "it is of a derived class, or has hooks or replaced methods"
    if len({parameter.device for parameter in layer.parameters()}) > 1:
        return "its parts are on several devices"
    try:
        original = type(layer)(layer.dim, layer.kernel_size, dilation=layer.dilation, device="meta")
    except ValueError as error:
        return f"its options were changed: {error}"
    return next(_differences(layer, original), None)


def _differences(part: nn.Module, original: nn.Module, name: str = "") -> Iterator[str]:
    """What is different in a module from one that its constructor has just made, or attached to it."""
    prefix = f"{name}." if name else ""
    if isinstance(original, nn.BatchNorm2d):
        if not foldable_norm(part):
            yield f"{name} is not a plain BatchNorm with running statistics, in eval mode"
        elif not all(is_plain_module(behind, nn.Identity) for behind in part.children()):
            yield f"{name} has an activation or a dropout"
        elif part.get_buffer("running_mean").shape != original.get_buffer("running_mean").shape:
            yield f"{name} has another number of channels"
    elif not is_plain_module(part, type(original)):
        yield f"{name} is not a plain {type(original).__name__}"
    elif not _options(original).items() <= _options(part).items():
        yield f"{name} has other options than in a {type(original).__name__} of such a layer"
    else:
        children = dict(original.named_children())
        if dict(part.named_children()).keys() != children.keys():
            yield f"{name or 'it'} has other parts"
            return
        for child_name, child in children.items():
            yield from _differences(getattr(part, child_name), child, prefix + child_name)


def _options(module: nn.Module) -> dict[str, Hashable]:
    """What a module computes with besides its values: public attributes and the shapes of its parameters."""
    ignored = {"training", "eps"}
    options = {key: value for key, value in vars(module).items() if not key.startswith("_") and key not in ignored}
    return options | {key: None if p is None else p.shape for key, p in module._parameters.items()}
