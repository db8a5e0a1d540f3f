"""Random numbers as functions of seed, epoch and batch, so that a resumed run draws what an unbroken one draws."""

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class StepSeeds(Callback):
    """Seeds Python, NumPy and torch anew for every batch: for mixing, dropout and stochastic depth.

    The images of a batch bring the random numbers of their augmentation with them, see `cotnet.data.samplers`.

    Args:
        seed: The run's seed; every process draws numbers of its own.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        key = (self.seed, trainer.current_epoch, batch_idx, trainer.global_rank)
        number = int(np.random.SeedSequence(key).generate_state(1)[0])
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
