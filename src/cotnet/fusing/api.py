"""``fuse``: a copy of a network for inference, which gives the same answers with less work."""

import copy

import torch
from torch import nn

from cotnet.fusing.batch_norm import fold_batchnorms, keep_in_eval
from cotnet.fusing.cot import FusedCoT
from cotnet.layers import CoTLayer, CoXtLayer
from cotnet.models.memory_format import to_layout


def fuse(model: nn.Module) -> nn.Module:
    """A faster copy of any network for inference, which gives the same answers; the network itself is not changed.

    Every CoT and CoXt layer becomes a ``FusedCoT``, every BatchNorm that follows a convolution is folded into it, and
    the weights are laid out channels_last. Modules that may do more than their arithmetic are left as they are: layers
    and norms of a derived class, with hooks, or without running statistics. The copy is in eval mode and its parameters
    have no gradients. ``torch.compile``, best with ``torch._inductor.config.freezing``, ``.to(torch.bfloat16)``,
    autocast and export work as for any network, and its ``state_dict`` fits any copy fused from the same architecture.

    Args:
        model: A network of the family, any other network with or without such layers, or a single layer.

    Returns:
        The fused copy, with the inputs and outputs of ``model``. Its ``train()`` raises ``RuntimeError`` and changes
        nothing; that of a network which contains it raises as well, after the parts before it have changed mode.
    """
    fused = copy.deepcopy(model).eval().requires_grad_(False)
    layers: dict[int, FusedCoT] = {}
    for name, module in list(fused.named_modules(remove_duplicate=False)):
        if not FusedCoT.suits(module):
            continue
        layer = layers.setdefault(id(module), FusedCoT(module))
        if not name:
            return to_layout(layer, torch.channels_last)
        fused.set_submodule(name, layer)
    fold_batchnorms(fused, (FusedCoT, CoTLayer, CoXtLayer))
    keep_in_eval(fused)
    return to_layout(fused, torch.channels_last)
