"""``fuse``: a copy of a network for inference, which gives the same answers with less work."""

import copy

import torch
from torch import nn

from cotnet.fusing.batch_norm import become, fold_batchnorms, foldable_norm, is_norm, keep_in_eval
from cotnet.fusing.cot import FusedCoT, obstacle
from cotnet.fusing.report import FuseReport
from cotnet.layers import CoTLayer, CoXtLayer
from cotnet.models.memory_format import to_layout

_LAYERS = (CoTLayer, CoXtLayer)
_NOT_ALONE = "it does not follow a plain convolution whose result nothing else reads"


def fuse(model: nn.Module) -> nn.Module:
    """A faster copy of any network for inference, which gives the same answers; the network itself is not changed.

    Every CoT and CoXt layer becomes a ``FusedCoT``, every BatchNorm that follows a convolution is folded into it, and
    the weights are laid out channels_last. Modules that may do more than their arithmetic are left as they are: layers,
    convolutions and norms of a derived class, with hooks, adapters, parametrisations or replaced methods, norms without
    running statistics, and layers with any such part or with a part that another module has replaced. The copy is in
    eval mode and its parameters have no gradients. ``torch.compile``, best with ``torch._inductor.config.freezing``,
    ``.to(torch.bfloat16)``, autocast and export work as for any network, and its ``state_dict`` fits any copy fused
    from the same architecture. Several threads may fuse while others run networks.

    Args:
        model: A network of the family, any other network with or without such layers, or a single layer.

    Returns:
        The fused copy, with the inputs and outputs of ``model``. Its attribute ``fuse_report`` is a ``FuseReport``:
        what was fused, what was left, and why. Its ``train()`` raises ``RuntimeError`` and changes nothing; that of a
        network which contains it raises as well, after the parts before it have changed mode.
    """
    fused = copy.deepcopy(model).eval().requires_grad_(False)
    report = FuseReport()
    for name, layer in list(fused.named_modules()):
        if isinstance(layer, _LAYERS):
            reason = obstacle(layer)
            if reason is None:
                become(layer, FusedCoT(layer))
                report.layers.append(name)
            else:
                report.left[name] = reason
    inside = tuple(f"{name}." if name else "" for name in report.left)
    norms = [(name, part, type(part)) for name, part in fused.named_modules() if is_norm(part)]
    fold_batchnorms(fused, _LAYERS)
    for name, norm, kind in norms:
        if type(norm) is not kind:
            report.norms.append(name)
        elif not name.startswith(inside):
            report.left[name] = _NOT_ALONE if foldable_norm(norm) else f"it is not a plain {kind.__name__} of maps"
    keep_in_eval(fused)
    fused.fuse_report = report  # type: ignore[assignment]
    return to_layout(fused, torch.channels_last)
