"""BatchNorm in training, together with the residual and the activation that follow it."""

from cotnet.ops.batch_norm_act.api import batch_norm_act
from cotnet.ops.batch_norm_act.reference import finish

__all__ = ["batch_norm_act", "finish"]
