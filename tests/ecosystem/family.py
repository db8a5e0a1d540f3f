"""Every layer, and small networks that hold every kind of block: what the tools of torch's ecosystem are tried on."""

import timm
import torch
from torch import Tensor, nn

from cotnet.layers import MIXERS, create_mixer

NETWORKS = {
    "basic": {"model_name": "cotnet8_nano"},
    "bottleneck": {"model_name": "cotnet20_nano"},
    "cotnext": {"model_name": "cotnet8_nano", "mixers": "coxt"},
    "hybrid": {"model_name": "se_cotnetd_50", "planes": (16, 16, 16, 16), "depths": (1, 1, 2, 1)},
    "blur": {"model_name": "se_cotnetd_152", "planes": (16, 16, 16, 16), "depths": (1, 1, 2, 1)},
    "relatives": {"model_name": "cotnet20_nano", "mixers": "res2=involution+drconv,res3=bsconv+local_attention"},
}


def layer(name: str, *, train: bool) -> nn.Module:
    """The mixer of this name for 32 channels."""
    torch.manual_seed(0)
    return create_mixer(name, 32).train(train)


def network(name: str, *, train: bool = False) -> nn.Module:
    """A network in which no block is the shortcut alone, as it is at the start of a training."""
    torch.manual_seed(0)
    model = timm.create_model(**NETWORKS[name], num_classes=5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.train(train)


def part(name: str, *, train: bool = False) -> nn.Module:
    """A layer or a network by name."""
    return layer(name, train=train) if name in MIXERS else network(name, train=train)


def image(name: str, batch: int = 4) -> Tensor:
    """An input of the layer or network, channels_last."""
    generator = torch.Generator().manual_seed(1)
    shape = (batch, 32, 6, 5) if name in MIXERS else (batch, 3, 32, 32)
    return torch.randn(shape, generator=generator).contiguous(memory_format=torch.channels_last)


def difference(actual: Tensor, expected: Tensor) -> float:
    """The largest difference, in units of the largest value."""
    return float((actual.detach() - expected.detach()).abs().max() / expected.detach().abs().max())


PARTS = [*MIXERS, *NETWORKS]
