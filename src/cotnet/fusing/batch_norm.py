"""BatchNorms folded into what is before them: a convolution, or a layer that takes them in."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

from timm.layers import BatchNormAct2d, FrozenBatchNormAct2d, SyncBatchNormAct
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import FrozenBatchNorm2d

from cotnet.fusing.dataflow import Dataflow
from cotnet.fusing.winograd import WinogradConv
from cotnet.layers.norm import FoldedNorm, PooledBatchNorm2d, refuse_training
from cotnet.layers.sync_norm import SyncBatchNorm
from cotnet.ops.plain import is_plain_module


class TakesNorm(nn.Module, ABC):
    """A module that a BatchNorm behind it can be folded into."""

    @abstractmethod
    def with_norm(self, norm: nn.Module) -> nn.Module:
        """A copy that does what the module and then ``norm`` in eval mode do."""


def keep_in_eval(model: nn.Module) -> None:
    """Have ``train`` of this one module refuse before it has changed anything, whatever the module's class."""
    model.train = partial(_train, model)  # type: ignore[method-assign]


def _train(model: nn.Module, mode: bool = True) -> nn.Module:
    refuse_training(mode)
    return type(model).train(model, False)


def affine(norm: Any) -> tuple[Tensor, Tensor]:
    """Factor and summand of each channel, in float64, that do what ``norm`` in eval mode does."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    bias = -norm.running_mean.double() * scale
    return scale, bias if norm.bias is None else bias + norm.bias.detach().double()


def fold_norm(conv: nn.Conv2d, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias, in float64, of the convolution that does what ``conv`` and then ``norm`` in eval mode do."""
    scale, bias = affine(norm)
    if conv.bias is not None:
        bias = bias + conv.bias.detach().double() * scale
    return conv.weight.detach().double() * scale[:, None, None, None], bias


def folded_conv(conv: nn.Conv2d, norm: nn.Module) -> nn.Conv2d:
    """A convolution that does what ``conv`` and then ``norm`` in eval mode do, without gradients."""
    weight, bias = fold_norm(conv, norm)
    folded = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        conv.dilation,  # type: ignore[arg-type]
        conv.groups,
        padding_mode=conv.padding_mode,
        device="meta",
    )
    folded.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
    folded.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
    return folded.eval()


def become(module: nn.Module, other: nn.Module) -> None:
    """Turn a module into another one in place, so that whoever holds it, by whatever name, holds the other one."""
    module.__dict__.clear()
    module.__dict__.update(vars(other))
    module.__class__ = type(other)


def fold_batchnorms(model: nn.Module, leaves: tuple[type[nn.Module], ...]) -> None:
    """Fold, in place, every BatchNorm that only a convolution or a ``TakesNorm`` feeds, which feeds nothing else.

    Args:
        model: The network, in eval mode.
        leaves: Modules of these types are not looked into.
    """
    pairs = {norm: source for source, norm in _pairs(model, leaves, _names(model))}
    for norm, source in pairs.items():
        if isinstance(source, TakesNorm):
            folded = source.with_norm(norm)
        else:
            assert isinstance(source, nn.Conv2d)
            plain = folded_conv(source, norm)
            folded = WinogradConv(plain) if WinogradConv.suits(plain) else plain
        become(source, folded)
        become(norm, _rest(norm))


def _names(model: nn.Module) -> Counter[nn.Module]:
    """How many names each module has."""
    return Counter(module for _, module in model.named_modules(remove_duplicate=False))


def _rest(norm: nn.Module) -> nn.Module:
    """What is left of a norm: nothing, or the dropout and activation that it includes."""
    behind = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
    return (nn.Sequential(FoldedNorm(), *behind) if behind else FoldedNorm()).eval()


def _pairs(
    model: nn.Module, leaves: tuple[type[nn.Module], ...], names: Counter[nn.Module]
) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Each module that can take in the BatchNorm behind it, and that; ``names`` has those of the whole network."""
    if isinstance(model, leaves) or next(model.children(), None) is None:
        return
    try:
        flow = Dataflow(model, partial(_is_leaf, leaves=leaves))
    except Exception:  # control flow that depends on the data, in any form: the parts may still be traced
        for child in model.children():
            yield from _pairs(child, leaves, names)
        return
    for part in model.modules():
        if part is not model and _is_leaf(part, leaves) and not _is_operation(part, leaves):
            yield from _pairs(part, leaves, names)
    inside, read = _names(model), flow.read_directly()
    calls = Counter(map(flow.module, flow.nodes))
    for node in flow.nodes:
        source = flow.source(node)
        if source is None:
            continue
        pair = flow.module(source), flow.module(node)
        # Called once here, and nowhere else: every path to it leads through what was traced.
        alone = all(calls[m] == 1 and names[m] == names[model] * inside[m] and m not in read for m in pair)
        if alone and takes_norm(pair[0]) and foldable_norm(pair[1]):
            yield pair


def _is_leaf(module: nn.Module, leaves: tuple[type[nn.Module], ...]) -> bool:
    """Whether a trace stops at a module: it is one operation, or has hooks, which shall not run for a trace."""
    return _is_operation(module, leaves) or bool(module._forward_hooks or module._forward_pre_hooks)


def _is_operation(module: nn.Module, leaves: tuple[type[nn.Module], ...]) -> bool:
    of_torch = type(module).__module__.startswith(("torch.nn", "torch.ao.nn")) and not isinstance(module, nn.Sequential)
    return of_torch or isinstance(module, (_BatchNorm, *_NORMS, TakesNorm, *leaves))


# All that they do in eval mode is the affine map of each channel, then `drop` and `act` where they have those.
_NORMS = (
    nn.BatchNorm2d,
    nn.SyncBatchNorm,
    BatchNormAct2d,
    SyncBatchNormAct,
    FrozenBatchNormAct2d,
    FrozenBatchNorm2d,
    PooledBatchNorm2d,
    SyncBatchNorm,
)


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a BatchNorm of any kind."""
    return isinstance(module, (_BatchNorm, *_NORMS))


def foldable_norm(norm: nn.Module) -> bool:
    """Whether a norm is in eval mode and there a fixed affine map of each channel, with nothing attached to it."""
    if norm.training or not is_plain_module(norm, *_NORMS):  # a network may keep some of its norms in training
        return False
    return norm.running_mean is not None and norm.running_var is not None


def foldable_conv(conv: nn.Module) -> bool:
    """Whether a module is a plain convolution, with nothing attached to it."""
    return is_plain_module(conv, nn.Conv2d)


def takes_norm(module: nn.Module) -> bool:
    """Whether a BatchNorm behind a module can be folded into it."""
    return foldable_conv(module) or (isinstance(module, TakesNorm) and is_plain_module(module, type(module)))
