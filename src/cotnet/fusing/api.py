"""`fuse`: a copy of a network for inference, with the same answers and less work."""

import copy

import torch
from torch import nn

from cotnet.fusing.batch_norm import fold_batchnorms, keep_in_eval
from cotnet.fusing.cot import FusedCoT
from cotnet.layers import CoTLayer, CoXtLayer
from cotnet.models.memory_format import to_layout


def fuse(model: nn.Module) -> nn.Module:
    """A copy of any network for inference: the same answers, faster. The network itself stays as it is.

    Every CoT and CoXt layer becomes a `FusedCoT`, every BatchNorm that follows a convolution is folded into it, and
    the weights lie channels_last. What does more than its own arithmetic stays as it is: a layer or a norm of a derived
    class, one with hooks, one without running statistics. The copy is in eval mode and its parameters have no
    gradients; `torch.compile`, best with `torch._inductor.config.freezing`, `.to(torch.bfloat16)`, autocast and export
    work as ever, and its `state_dict` fits any copy that is fused from the same architecture.

    Args:
        model: a network of the family, a network of other making with such layers in it or without, or one layer.

    Returns:
        The fused copy, which takes and gives what `model` does. `train()` of it raises `RuntimeError` and changes
        nothing; that of a network which holds it raises, too, after what comes before it is in training mode.
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
