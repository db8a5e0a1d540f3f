"""The optimizers of detectors and segmenters, and their schedules as functions of the epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from timm.scheduler import CosineLRScheduler, MultiStepLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import SGD, AdamW, Optimizer

OptimizerName = Literal["sgd", "adamw"]

BASE_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """The fields of a module that decide on its optimizer and its schedule.

    Attributes:
        optimizer: ``sgd`` or ``adamw``.
        base_lr: Peak learning rate for 16 images per step.
        momentum: SGD's momentum, AdamW's first beta.
        weight_decay: Weight decay of all parameters but those of norms.
        warmup_epochs: Epochs of linear warm-up.
        warmup_factor: Learning rate at its start, as a fraction of the peak.
        milestones: Epochs at which the rate falls to a tenth; None for a cosine.

    Raises:
        ValueError: A number is outside its range.
    """

    optimizer: OptimizerName
    base_lr: float
    momentum: float
    weight_decay: float
    warmup_epochs: float
    warmup_factor: float = 0.001
    milestones: Sequence[float] | None = None

    def __post_init__(self) -> None:
        check_ranges(
            base_lr=(self.base_lr, 1e-12, None),
            momentum=(self.momentum, 0, 1),
            weight_decay=(self.weight_decay, 0, None),
            warmup_epochs=(self.warmup_epochs, 0, None),
            warmup_factor=(self.warmup_factor, 0, 1),
        )

    def create(self, network: nn.Module, *, global_batch: int, epochs: int) -> tuple[Optimizer, Scheduler]:
        """The optimizer at the learning rate of the real batch, and its schedule.

        Args:
            network: What to train.
            global_batch: Images per step, over all devices.
            epochs: Length of the run.
        """
        lr = self.base_lr * global_batch / BASE_BATCH
        optimizer = create_optimizer(
            self.optimizer, network, lr=lr, momentum=self.momentum, weight_decay=self.weight_decay
        )
        return optimizer, create_schedule(
            optimizer,
            epochs=epochs,
            milestones=self.milestones,
            warmup_epochs=self.warmup_epochs,
            warmup_factor=self.warmup_factor,
        )


def check_ranges(**ranges: tuple[float, float, float | None]) -> None:
    """Check fields of ``model``.

    Args:
        ranges: Value, minimum and maximum of each field; None where there is no maximum.

    Raises:
        ValueError: A value is outside its range or not finite.
    """
    for name, (value, minimum, maximum) in ranges.items():
        if not (minimum <= value < float("inf") and (maximum is None or value <= maximum)):
            upper = "" if maximum is None else f" and at most {maximum:g}"
            raise ValueError(f"model.{name} must be at least {minimum:g}{upper}, got {value:g}")


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters in two groups: those of all norms without weight decay, the others with it."""
    norms: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for module in network.modules():
        group = norms if isinstance(module, (_NormBase, nn.GroupNorm, nn.LayerNorm)) else others
        group += [parameter for parameter in module.parameters(recurse=False) if parameter.requires_grad]
    groups = [{"params": norms, "weight_decay": 0.0}, {"params": others, "weight_decay": weight_decay}]
    return [group for group in groups if group["params"]]


def create_optimizer(
    name: OptimizerName, network: nn.Module, *, lr: float, momentum: float, weight_decay: float
) -> Optimizer:
    """SGD with momentum, or AdamW.

    Args:
        name: ``sgd`` or ``adamw``.
        network: What to train.
        lr: Peak learning rate.
        momentum: SGD's momentum, AdamW's first beta.
        weight_decay: Weight decay of all parameters but those of norms.

    Raises:
        ValueError: The name is unknown.
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
        optimizer: The optimizer with the peak learning rates.
        epochs: Length of the run.
        milestones: Epochs at which the rate falls to a tenth; None for the cosine.
        warmup_epochs: Length of the warm-up.
        warmup_factor: Learning rate at its start, as a fraction of the peak.
    """
    peak = max(group["lr"] for group in optimizer.param_groups)
    warmup: dict[str, Any] = {"warmup_t": warmup_epochs, "warmup_lr_init": peak * warmup_factor}
    if milestones is None:
        return CosineLRScheduler(optimizer, t_initial=epochs, lr_min=0.0, **warmup)
    # timm compares its milestones with a time plus one, and by default counts from the end of the warm-up.
    decay_t: Any = [milestone + 1 for milestone in milestones]
    return MultiStepLRScheduler(optimizer, decay_t=decay_t, decay_rate=0.1, warmup_prefix=False, **warmup)
