"""The spatial mixers by name, behind one constructor signature: `mixer(dim, kernel_size, dilation=...)`."""

import difflib
from dataclasses import dataclass
from typing import Any

from torch import nn

from cotnet.layers.bsconv import BSConv
from cotnet.layers.conv import Conv
from cotnet.layers.cot import CoTLayer, CoXtLayer
from cotnet.layers.cot_ablations import CoTDynamic, CoTLinear, CoTStatic
from cotnet.layers.drconv import DRConv
from cotnet.layers.involution import Involution
from cotnet.layers.local_attention import LocalAttention
from cotnet.layers.mhsa import GlobalAttention
from cotnet.layers.se_conv import SEConv


@dataclass(frozen=True)
class Mixer:
    """A way to mix the neighbours of each position.

    Attributes:
        layer: the module, [N, C, H, W] to [N, C, H', W'].
        strided: whether it takes a `stride`; the others always keep the size, and the body pools before them.
        linear: whether it ends as a convolution does, without norm and activation; they are then the body's to add.
    """

    layer: type[nn.Module]
    strided: bool = False
    linear: bool = False


MIXERS = {
    "conv": Mixer(Conv, strided=True),
    "se_conv": Mixer(SEConv, strided=True),
    "cot": Mixer(CoTLayer),
    "coxt": Mixer(CoXtLayer),
    "cot_static": Mixer(CoTStatic),
    "cot_dynamic": Mixer(CoTDynamic),
    "cot_linear": Mixer(CoTLinear),
    "local_attention": Mixer(LocalAttention, linear=True),
    "bsconv": Mixer(BSConv, strided=True, linear=True),
    "drconv": Mixer(DRConv, linear=True),
    "mhsa": Mixer(GlobalAttention, linear=True),
    "involution": Mixer(Involution, linear=True),
}


def get_mixer(name: str) -> Mixer:
    """The mixer of this name.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    if name not in MIXERS:
        close = difflib.get_close_matches(str(name), MIXERS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ValueError(f"unknown mixer {name!r}{hint} Known mixers: {', '.join(MIXERS)}")
    return MIXERS[name]


def create_mixer(name: str, dim: int, kernel_size: int = 3, **options: Any) -> nn.Module:
    """The layer of the mixer called `name`, for `dim` channels."""
    return get_mixer(name).layer(dim, kernel_size, **options)
