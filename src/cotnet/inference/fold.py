"""BatchNorms folded into what is before them: a convolution, or a layer that takes them in."""

import copy
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from timm.layers import BatchNormAct2d, FrozenBatchNormAct2d
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cotnet.inference.winograd import WinogradConv


class TakesNorm(nn.Module, ABC):
    """A module that a BatchNorm behind it can be folded into."""

    @abstractmethod
    def with_norm(self, norm: nn.Module) -> nn.Module:
        """A copy that does what the module and then `norm` in eval mode do."""


class FoldedNorm(nn.Identity):
    """What is left of a BatchNorm that has been folded into what is before it."""

    def train(self, mode: bool = True) -> "FoldedNorm":
        """Stay in eval mode.

        Raises:
            RuntimeError: training is asked for.
        """
        refuse_training(mode)
        return super().train(False)


def refuse_training(mode: bool) -> None:
    """Raise `RuntimeError` where training is asked for."""
    if mode:
        raise RuntimeError(
            "a fused network serves inference only: its BatchNorms are folded away and it has no gradients; "
            "train the network that it was made from, then fuse it again"
        )


def affine(norm: Any) -> tuple[Tensor, Tensor]:
    """Factor and summand of each channel, in float64, that do what `norm` in eval mode does."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    bias = -norm.running_mean.double() * scale
    return scale, bias if norm.bias is None else bias + norm.bias.detach().double()


def fold_norm(conv: nn.Conv2d, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias, in float64, of the convolution that does what `conv` and then `norm` in eval mode do."""
    scale, bias = affine(norm)
    if conv.bias is not None:
        bias = bias + conv.bias.detach().double() * scale
    return conv.weight.detach().double() * scale[:, None, None, None], bias


def folded_conv(conv: nn.Conv2d, norm: nn.Module) -> nn.Conv2d:
    """A convolution that does what `conv` and then `norm` in eval mode do, without gradients."""
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
    """Fold, in place, every BatchNorm that only a convolution or a `TakesNorm` feeds, which feeds nothing else.

    Args:
        model: in eval mode.
        leaves: modules of these types are not looked into.
    """
    folded: dict[str, nn.Module] = {}
    for source_name, norm_name in _pairs(model, leaves):
        source, norm = model.get_submodule(source_name), model.get_submodule(norm_name)
        folded[norm_name] = _rest(norm)
        if isinstance(source, TakesNorm):
            folded[source_name] = source.with_norm(norm)
        else:
            assert isinstance(source, nn.Conv2d)
            plain = folded_conv(source, norm)
            folded[source_name] = WinogradConv(plain) if WinogradConv.suits(plain) else plain
    for name, module in folded.items():
        model.set_submodule(name, module)


def _without_state(model: nn.Module) -> nn.Module:
    """The same modules over the same tensors, for a trace to write into: some modules keep what they see."""
    tensors = (*model.parameters(), *model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def _rest(norm: nn.Module) -> nn.Module:
    """What is left of a norm: nothing, or the activation that it has with it."""
    if isinstance(norm, (BatchNormAct2d, FrozenBatchNormAct2d)):
        return nn.Sequential(FoldedNorm(), norm.drop, norm.act).eval()
    return FoldedNorm().eval()


def _pairs(model: nn.Module, leaves: tuple[type[nn.Module], ...]) -> Iterator[tuple[str, str]]:
    """Names of each module that can take in the BatchNorm behind it, and of that."""
    if isinstance(model, leaves) or next(model.children(), None) is None:
        return
    tracer = _Tracer(leaves)
    try:
        graph = tracer.trace(_without_state(model))
    except Exception:  # control flow that follows the data, in any form: its parts may still be traced
        for name, child in model.named_children():
            for pair in _pairs(child, leaves):
                yield f"{name}.{pair[0]}", f"{name}.{pair[1]}"
        return
    modules = dict(model.named_modules(remove_duplicate=False))
    calls = Counter(id(modules[node.target]) for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:
        if node.op != "call_module" or not _foldable_norm(modules[node.target]) or len(node.args) != 1:
            continue
        source = node.args[0]
        if source.op != "call_module" or len(source.users) != 1:
            continue
        before, norm = modules[source.target], modules[node.target]
        if _takes_norm(before) and calls[id(before)] == calls[id(norm)] == 1:
            yield source.target, node.target


class _Tracer(fx.Tracer):
    def __init__(self, leaves: tuple[type[nn.Module], ...]):
        super().__init__()
        self.leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*_NORMS, *self.leaves)) or super().is_leaf_module(m, module_qualified_name)


_NORMS = (_BatchNorm, FrozenBatchNormAct2d)


def _foldable_norm(norm: nn.Module) -> bool:
    frozen = isinstance(norm, FrozenBatchNormAct2d) or type(norm).__name__.startswith("FrozenBatchNorm")
    return (isinstance(norm, _NORMS) or frozen) and norm.running_mean is not None and not _hooked(norm)


def _takes_norm(module: nn.Module) -> bool:
    plain = type(module) is nn.Conv2d and not torch.nn.utils.parametrize.is_parametrized(module)
    return (plain or isinstance(module, TakesNorm)) and not _hooked(module)


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
