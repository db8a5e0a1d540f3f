"""BatchNorms folded into what is before them: a convolution, or a layer that takes them in."""

import copy
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

from timm.layers import BatchNormAct2d, FrozenBatchNormAct2d, SyncBatchNormAct
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import FrozenBatchNorm2d

from cotnet.fusing.winograd import WinogradConv
from cotnet.layers.norm import PooledBatchNorm2d
from cotnet.layers.sync_norm import SyncBatchNorm


class TakesNorm(nn.Module, ABC):
    """A module that a BatchNorm behind it can be folded into."""

    @abstractmethod
    def with_norm(self, norm: nn.Module) -> nn.Module:
        """A copy that does what the module and then ``norm`` in eval mode do."""


class FoldedNorm(nn.Identity):
    """What is left of a BatchNorm that has been folded into what is before it."""

    def train(self, mode: bool = True) -> "FoldedNorm":
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
            "a fused network serves inference only; train the network that it was made from, then fuse it again"
        )


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


def fold_batchnorms(model: nn.Module, leaves: tuple[type[nn.Module], ...]) -> None:
    """Fold, in place, every BatchNorm that only a convolution or a ``TakesNorm`` feeds, which feeds nothing else.

    Args:
        model: In eval mode.
        leaves: Modules of these types are not looked into.
    """
    folded: dict[nn.Module, nn.Module] = {}
    for source, norm in _pairs(model, leaves, _names(model)):
        folded[norm] = _rest(norm)
        if isinstance(source, TakesNorm):
            folded[source] = source.with_norm(norm)
        else:
            assert isinstance(source, nn.Conv2d)
            plain = folded_conv(source, norm)
            folded[source] = WinogradConv(plain) if WinogradConv.suits(plain) else plain
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module in folded:
            model.set_submodule(name, folded[module])


def _names(model: nn.Module) -> Counter[nn.Module]:
    """How many names each module has."""
    return Counter(module for _, module in model.named_modules(remove_duplicate=False))


def _without_state(model: nn.Module) -> nn.Module:
    """The same modules over the same tensors, for a trace to write into: some modules keep what they see."""
    tensors = (*model.parameters(), *model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def _rest(norm: nn.Module) -> nn.Module:
    """What is left of a norm: nothing, or the activation that it has with it."""
    behind = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
    return (nn.Sequential(FoldedNorm(), *behind) if behind else FoldedNorm()).eval()


def _pairs(
    model: nn.Module, leaves: tuple[type[nn.Module], ...], names: Counter[nn.Module]
) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Each module that can take in the BatchNorm behind it, and that; ``names`` has those of the whole network."""
    if isinstance(model, leaves) or next(model.children(), None) is None:
        return
    tracer = _Tracer(leaves)
    try:
        graph = tracer.trace(_without_state(model))
    except Exception:  # control flow that follows the data, in any form: its parts may still be traced
        for child in model.children():
            yield from _pairs(child, leaves, names)
        return
    modules, inside = dict(model.named_modules(remove_duplicate=False)), _names(model)
    calls = Counter(modules[node.target] for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:
        if node.op != "call_module" or not foldable_norm(modules[node.target]) or len(node.args) != 1:
            continue
        source = node.args[0]
        if source.op != "call_module" or len(source.users) != 1:
            continue
        pair = modules[source.target], modules[node.target]
        # Called once here, and nowhere else: every path to it leads through what was traced.
        alone = all(calls[m] == 1 and names[m] == names[model] * inside[m] for m in pair)
        if alone and (foldable_conv(pair[0]) or (isinstance(pair[0], TakesNorm) and not hooked(pair[0]))):
            yield pair


class _Tracer(fx.Tracer):
    def __init__(self, leaves: tuple[type[nn.Module], ...]):
        super().__init__()
        self.leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (_BatchNorm, *_NORMS, *self.leaves)) or super().is_leaf_module(m, module_qualified_name)


# All that they do in eval mode is the affine map of each channel, then `drop` and `act` where they have those. A class
# derived from one of them may do anything.
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


def foldable_norm(norm: nn.Module) -> bool:
    """Whether a norm in eval mode is a fixed affine map of each channel, with nothing attached to it."""
    return type(norm) in _NORMS and norm.running_mean is not None and not hooked(norm)


def foldable_conv(conv: nn.Module) -> bool:
    """Whether a module is a plain convolution, with nothing attached to it."""
    return type(conv) is nn.Conv2d and not hooked(conv)


def hooked(module: nn.Module) -> bool:
    """Whether a call of the module is more than its ``forward``."""
    return bool(module._forward_hooks or module._forward_pre_hooks)
