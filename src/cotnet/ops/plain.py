"""Whether a fast path may read a tensor's memory, or a module's weights, past the calls that would use them.

A network's parts can be changed in many ways: hooks, parametrisations, adapters, derived classes, other methods on one
instance, other kinds of tensors. A fast path gives the same answer only where nothing of that kind has happened, and
everything else calls the modules and PyTorch's operators. ``fuse``, ``convert``, the layers and the native kernels that
no dispatcher stands before all ask here.
"""

from collections.abc import Hashable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.nn.modules.module import _has_any_global_hook

# The arithmetic of these classes is theirs for as long as nobody has put another function there.
_FORWARDS: dict[type, Any] = {
    kind: kind.forward for kind in (nn.Conv2d, nn.BatchNorm2d, nn.SyncBatchNorm, nn.GroupNorm, nn.Identity)
}
# Parameters, and what tracers put in their place for as long as they trace.
_PARAMETERS = frozenset({Tensor, nn.Parameter, FakeTensor, FunctionalTensor})


def is_plain_tensor(x: Tensor) -> bool:
    """Whether a tensor's memory holds its values: it is strided, of no derived class, no lazy view, no wrapper."""
    return (
        type(x) in (Tensor, nn.Parameter)
        and x.layout == torch.strided
        and not (x.is_neg() or x.is_conj() or x._is_zerotensor())
        and torch._C._has_storage(x)
    )


@torch.compiler.assume_constant_result  # a compiler asks once, of the real module
def is_plain_module(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether calling a module is the arithmetic of its class on its parameters, and nothing else.

    Args:
        module: Any module; its submodules are not looked at.
        kinds: The classes that the caller knows the arithmetic of. One derived from them may do anything.

    Returns:
        True where the module is exactly of one of these classes, none of its methods is replaced, nor the class's
        ``forward``, neither it nor the process has module hooks, and its parameters and buffers are ordinary tensors.
    """
    attributes, kind = module.__dict__, type(module)
    if (
        kind not in kinds
        or attributes["_forward_hooks"]
        or attributes["_forward_pre_hooks"]
        or attributes["_backward_hooks"]
        or attributes["_backward_pre_hooks"]
        or _has_any_global_hook()
        or kind.forward is not _FORWARDS.setdefault(kind, kind.forward)
        or not _methods(kind).isdisjoint(attributes)  # type: ignore[arg-type]
    ):
        return False
    for tensors in (attributes["_parameters"], attributes["_buffers"]):  # loops: every call of a norm comes here
        for tensor in tensors.values():
            if tensor is not None and type(tensor) not in _PARAMETERS:
                return False
    return True


@cache
def _methods(kind: Hashable) -> frozenset[str]:
    """Names that an instance must not redefine: those of methods, and of a compiled call in the place of the call.

    ``train`` is left out, which takes no part in a call.
    """
    names = {name for name in dir(kind) if callable(getattr(kind, name, None)) and not name.startswith("__")}
    return frozenset((names | {"_compiled_call_impl"}) - {"train"})
