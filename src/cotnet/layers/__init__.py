"""Spatial mixers: modules that stand in place of a 3x3 convolution.

``MIXERS`` has all of them by name, and ``create_mixer`` makes one.
"""

from cotnet.layers._common import init_weights
from cotnet.layers.bsconv import BSConv
from cotnet.layers.conv import Conv, linear_conv
from cotnet.layers.cot import CoTLayer, CoXtLayer
from cotnet.layers.cot_ablations import CoTDynamic, CoTLinear, CoTStatic
from cotnet.layers.drconv import DRConv
from cotnet.layers.involution import Involution
from cotnet.layers.local_attention import LocalAttention
from cotnet.layers.mhsa import GlobalAttention
from cotnet.layers.mixers import MIXERS, Mixer, create_mixer, get_mixer
from cotnet.layers.se_conv import SEConv

__all__ = [
    "MIXERS",
    "BSConv",
    "CoTDynamic",
    "CoTLayer",
    "CoTLinear",
    "CoTStatic",
    "CoXtLayer",
    "Conv",
    "DRConv",
    "GlobalAttention",
    "Involution",
    "LocalAttention",
    "Mixer",
    "SEConv",
    "create_mixer",
    "get_mixer",
    "init_weights",
    "linear_conv",
]
