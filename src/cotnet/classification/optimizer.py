"""SGD as the paper uses it: which parameters decay, how the learning rate follows the batch, and its schedule."""

from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from torch import nn
from torch.optim import SGD, Optimizer


def sgd(
    network: nn.Module,
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    layer_decay: float | None = None,
) -> SGD:
    """SGD without weight decay on biases and one-dimensional parameters; parameters without gradient are left out.

    Args:
        network: Any network of timm.
        lr: Peak learning rate.
        momentum: Share of the last step in the next.
        nesterov: Nesterov's form of it.
        weight_decay: Decay of parameters of two dimensions and more.
        layer_decay: Factor of the learning rate from one layer to the one before it, the classifier's being 1; by the
            network's own list of layers (timm's ``group_matcher``). None for one rate throughout.
    """
    groups = (
        param_groups_weight_decay(network, weight_decay)
        if layer_decay is None
        else param_groups_layer_decay(network, weight_decay, layer_decay=layer_decay)
    )
    return SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov and momentum > 0, weight_decay=weight_decay)


def cosine_schedule(
    optimizer: Optimizer, *, epochs: int, warmup_epochs: float, warmup_lr: float, final_lr: float
) -> CosineLRScheduler:
    """Linear warm-up inside a cosine over all epochs; ``schedule.step(epoch)`` takes fractions of an epoch.

    Args:
        optimizer: Its learning rates are the peaks.
        epochs: Length of the run; the cosine ends there.
        warmup_epochs: Length of the warm-up.
        warmup_lr: Rate at the start of the warm-up.
        final_lr: Rate at the end of the run.
    """
    return CosineLRScheduler(
        optimizer,
        t_initial=epochs,
        lr_min=final_lr,
        warmup_t=warmup_epochs,  # type: ignore[arg-type]  # timm computes with it, and fractions serve
        warmup_lr_init=warmup_lr,
    )
