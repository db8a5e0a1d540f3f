"""BatchNorm in training together with the activation and the residual that follow it."""

from cotnet.ops.batch_norm_act.interface import batch_norm_act
from cotnet.ops.batch_norm_act.reference import finish

__all__ = ["batch_norm_act", "finish"]
