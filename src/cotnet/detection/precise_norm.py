"""BatchNorm statistics estimated anew before an evaluation, over many training batches at fixed weights.

Wu and Johnson, Rethinking "Batch" in BatchNorm, arXiv 2105.07576, section 3.
"""

from itertools import islice
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class PreciseNorm(Callback):
    """Replaces the running statistics of every trainable BatchNorm by the mean over some batches of all ranks.

    The run's random numbers are not touched, so that a resumed run equals an uninterrupted one.

    Args:
        batches: The number of batches, at most those of an epoch.
    """

    def __init__(self, batches: int) -> None:
        self.batches = batches

    @torch.no_grad()
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Estimate the statistics, except for the sanity check before training."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        pl_module.train()
        network: Any = pl_module.network
        norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
        if norms:
            with torch.random.fork_rng():
                self._estimate(trainer, pl_module, network, norms)
        pl_module.eval()

    def _estimate(self, trainer: Trainer, pl_module: LightningModule, network: nn.Module, norms: list[Any]) -> None:
        loader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        loader.sampler.set_epoch(trainer.current_epoch)
        loader.sampler.start = (0, 0)  # whatever part of the epoch a resumed run has skipped
        momenta = [norm.momentum for norm in norms]
        batches = min(self.batches, len(loader))
        for number, batch in enumerate(islice(loader, batches), 1):
            for norm in norms:
                norm.momentum = 1 / number  # a running mean over the batches
            network(*pl_module.transfer_batch_to_device(batch, pl_module.device, 0))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            if trainer.world_size > 1:
                for statistic in (norm.running_mean, norm.running_var):
                    torch.distributed.all_reduce(statistic)
                    statistic /= trainer.world_size
