"""The optimizers of detectors, and their schedules as functions of the epoch."""

from collections.abc import Sequence
from typing import Any, Literal

from timm.scheduler import CosineLRScheduler, MultiStepLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import SGD, AdamW, Optimizer

OptimizerName = Literal["sgd", "adamw"]


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """What trains in the network, in two groups: all norms' parameters without decay, the rest with it."""
    norms: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for module in network.modules():
        mine = norms if isinstance(module, (_NormBase, nn.GroupNorm, nn.LayerNorm)) else others
        mine += [parameter for parameter in module.parameters(recurse=False) if parameter.requires_grad]
    groups = [{"params": norms, "weight_decay": 0.0}, {"params": others, "weight_decay": weight_decay}]
    return [group for group in groups if group["params"]]


def create_optimizer(
    name: OptimizerName, network: nn.Module, *, lr: float, momentum: float, weight_decay: float
) -> Optimizer:
    """SGD with momentum, or AdamW.

    Raises:
        ValueError: an unknown name.
    """
    groups = parameter_groups(network, weight_decay)
    if name == "sgd":
        return SGD(groups, lr=lr, momentum=momentum)
    if name == "adamw":
        return AdamW(groups, lr=lr, betas=(momentum, 0.999))
    raise ValueError(f"model.optimizer must be sgd or adamw, got {name!r}")


def create_schedule(
    optimizer: Optimizer, *, epochs: int, milestones: Sequence[float] | None, warmup_epochs: float, warmup_factor: float
) -> Scheduler:
    """A linear warm-up, then steps of 0.1, or a cosine to zero.

    Args:
        optimizer: Its learning rates are the peaks.
        epochs: Length of the run.
        milestones: Epochs at which the rate falls to a tenth; None for the cosine.
        warmup_epochs: Length of the warm-up.
        warmup_factor: Where it starts, as a part of the peak.
    """
    peak = max(group["lr"] for group in optimizer.param_groups)
    warmup: dict[str, Any] = {"warmup_t": warmup_epochs, "warmup_lr_init": peak * warmup_factor}
    if milestones is None:
        return CosineLRScheduler(optimizer, t_initial=epochs, lr_min=0.0, **warmup)
    # timm compares its milestones with a time plus one, and by default counts from the end of the warm-up.
    decay_t: Any = [milestone + 1 for milestone in milestones]
    return MultiStepLRScheduler(optimizer, decay_t=decay_t, decay_rate=0.1, warmup_prefix=False, **warmup)
