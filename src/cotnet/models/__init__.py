"""The family: one residual body described by data, its registered names, and translation of released checkpoints."""

from cotnet.models.convert import Conversion, convert
from cotnet.models.cost import count_macs, count_parameters
from cotnet.models.family import BODIES, PUBLISHED_ACCURACY
from cotnet.models.official_names import from_official, to_official
from cotnet.models.pretrained import load_entries
from cotnet.models.released import load_official
from cotnet.models.residual_net import ResidualNet
from cotnet.models.spec import Body, Stage, Stem

__all__ = [
    "BODIES",
    "PUBLISHED_ACCURACY",
    "Body",
    "Conversion",
    "ResidualNet",
    "Stage",
    "Stem",
    "convert",
    "count_macs",
    "count_parameters",
    "from_official",
    "load_entries",
    "load_official",
    "to_official",
]
