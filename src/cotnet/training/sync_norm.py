"""Batch statistics over all processes: at every step on request (SyncBN), and averaged before each validation."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.plugins import LayerSync
from timm.layers import convert_sync_batchnorm
from timm.utils import distribute_bn
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cotnet.layers.sync_norm import SyncBatchNorm
from cotnet.training.lightning_private import average_of


class SyncNorm(LayerSync):
    """Lightning's ``sync_batchnorm``, on every device.

    On a GPU it is PyTorch's SyncBatchNorm, elsewhere `cotnet.layers.sync_norm.SyncBatchNorm`.

    Args:
        device: Where the model will compute.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def apply(self, model: nn.Module) -> nn.Module:
        """The model with synchronised norms; entries of its state dict keep their names and their order."""
        if self.device.type == "cuda":
            return convert_sync_batchnorm(model)
        return replace_norms(model)

    def revert(self, model: nn.Module) -> nn.Module:
        """The model as it is: in a single process both kinds are plain BatchNorm."""
        return model


def replace_norms(module: nn.Module) -> nn.Module:
    """The module with every BatchNorm inside it replaced by `SyncBatchNorm`, in place where it has any."""
    if isinstance(module, _BatchNorm):
        return SyncBatchNorm(module)
    for name, child in module.named_children():
        setattr(module, name, replace_norms(child))
    return module


class AverageNorms(Callback):
    """Averages the running statistics of BatchNorm over the processes at the end of every epoch, before its validation.

    So every process validates the same network, and a checkpoint holds the statistics of all of them. A moving average
    of the weights is treated in the same way.
    """

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Average after the epoch's last batch."""
        if trainer.world_size == 1 or not trainer.is_last_batch:
            return
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            average = average_of(callback) if isinstance(callback, WeightAveraging) else None
            if average is not None:
                distribute_bn(average, trainer.world_size, reduce=True)
        distribute_bn(pl_module, trainer.world_size, reduce=True)
