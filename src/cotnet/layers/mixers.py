"""The spatial mixers by name, behind one constructor signature: ``mixer(dim, kernel_size, dilation=...)``."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from cotnet.layers.bsconv import BSConv
from cotnet.layers.conv import Conv, linear_conv
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
        create: Makes the layer, [N, C, H, W] to [N, C, H', W'], from ``dim, kernel_size`` and options by keyword.
        strided: Whether it takes a ``stride``; the others always keep the size, and the body pools before them.
        linear: Whether it ends as a convolution does, without norm and activation, which the body then adds.
        without_norm: Name of the mixer that is this one without its last norm and activation, where there is one.
    """

    create: Callable[..., nn.Module]
    strided: bool = False
    linear: bool = False
    without_norm: str | None = None


MIXERS = {
    "conv": Mixer(Conv, strided=True, without_norm="conv_linear"),
    "conv_linear": Mixer(linear_conv, strided=True, linear=True),
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
        ValueError: An unknown name; the message lists the known ones.
    """
    if name not in MIXERS:
        close = difflib.get_close_matches(str(name), MIXERS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ValueError(f"unknown mixer {name!r}{hint} Known mixers: {', '.join(MIXERS)}")
    return MIXERS[name]


def create_mixer(name: str, dim: int, kernel_size: int = 3, **options: Any) -> nn.Module:
    """A layer of the mixer called ``name``.

    Args:
        name: One of ``MIXERS``.
        dim: Channels C.
        kernel_size: Odd window size.
        **options: ``dilation``, ``device``, ``dtype``, ``stride`` where the mixer is strided, and those of its layer.

    Raises:
        ValueError: An unknown name, or options that do not fit the layer.
    """
    return get_mixer(name).create(dim, kernel_size, **options)
