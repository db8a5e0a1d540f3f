"""What a run needs of the module that it trains, whatever its task is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from cotnet.files.weights import WeightsCard
from cotnet.models import load_entries
from cotnet.training.distributed import suit_strategy
from cotnet.training.protocol import TrainingData, data_of
from cotnet.training.sync_norm import AverageNorms

# Title, factor, and the label of each column.
Panel = tuple[str, float, dict[str, str]]


class TrainingModule(LightningModule):
    """A network with its optimizer and schedule, a card that describes it, and what its run shows.

    A subclass builds `network` and `create_optimizer`, and writes the steps of training and validation.

    Attributes:
        monitor: The metric by which the best epoch is known; the highest is best.
        monitor_label: What to call it.
        columns: The metrics of ``metrics.csv``; ``train_loss`` is among them.
        panels: Of the figure of the learning curves.
        progress: Label, metric and format of the numbers in the line that ends an epoch.
        step_metrics: What a training step returns beside ``loss``, as scalars; an epoch's mean is ``train_NAME``.
        name: Of the network, in timm's registry.
        kwargs: Further arguments of the network's constructor.
        init_from: Weights to start from, or None.
        base_lr: Peak learning rate for `base_batch` images per step.
        base_batch: See `base_lr`.
        warmup_epochs: Epochs of linear warm-up.
        ema_decay: Decay of the moving average of weights, or None.
        lr_update: Change the learning rate at every step, or once per epoch.
        network: What is trained.
        card: Describes it in every file that the run writes.
        counts: Images by true class and answer in the last validation, over all devices, or None.
    """

    monitor: str
    monitor_label: str
    columns: tuple[str, ...]
    panels: tuple[Panel, ...]
    progress: tuple[tuple[str, str, str], ...]
    step_metrics: tuple[str, ...] = ()
    name: str
    kwargs: dict[str, Any]
    init_from: str | None
    base_lr: float
    base_batch: int = 256
    warmup_epochs: float
    ema_decay: float | None
    lr_update: Literal["step", "epoch"] = "step"
    network: nn.Module
    card: WeightsCard | None = None
    counts: np.ndarray | None = None

    def create_optimizer(self) -> tuple[Optimizer, Scheduler]:
        """The optimizer at its peak learning rates, and a schedule that steps by fractions of an epoch."""
        raise NotImplementedError

    @property
    def optimizer_fields(self) -> dict[str, Any]:
        """The fields that decide which parameters are together in the optimizer and what it keeps of each."""
        return {}

    def describe(self, data: TrainingData) -> WeightsCard:
        """The card of a network that is trained on this data module."""
        raise NotImplementedError

    def check_data(self, data: TrainingData) -> None:
        """Check that the network can train on such images and batches.

        Raises:
            ValueError: It cannot.
        """

    def load_entries(self, entries: dict[str, Tensor]) -> None:
        """Start from these weights, named as a network of ours names them; warns of what is left out.

        Raises:
            ValueError: They do not fit.
        """
        load_entries(self.network, entries)

    def draw(self, folder: Path) -> None:
        """Draw what the validation of the best epoch so far has shown, into the run folder."""

    def report(self, counts: np.ndarray | None) -> Sequence[str]:
        """Further sections of ``report.md``, as lines of Markdown.

        Args:
            counts: `counts` of the best epoch.
        """
        return ()

    @property
    def data(self) -> TrainingData:
        """What the network is trained on, once a trainer is attached."""
        return data_of(self.trainer)

    @property
    def global_batch(self) -> int:
        """Images per optimizer step, over all devices and accumulated batches."""
        return self.data.batch_size * self.trainer.world_size * self.trainer.accumulate_grad_batches

    @property
    def peak_lr(self) -> float:
        """``base_lr * global_batch / base_batch``: the rate follows the batch (Goyal et al. 2017)."""
        return self.base_lr * self.global_batch / self.base_batch

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer. The schedule is a function of the epoch and holds no state to restore."""
        optimizer, self._schedule = self.create_optimizer()
        # As configured now; a checkpoint restores its own later, see on_train_start.
        self._settings = [{key: group[key] for key in group if key != "params"} for group in optimizer.param_groups]
        return optimizer

    def setup(self, stage: str) -> None:
        """Suit the strategy to networks with BatchNorm."""
        if stage == "fit":
            suit_strategy(self.trainer.strategy)

    def configure_model(self) -> None:
        """Where the strategy leaves sharding to the module (FSDP2), refuse; a subclass that can do it overrides this.

        Raises:
            ValueError: There is a mesh of processes to shard over.
        """
        if self.device_mesh is not None:
            raise ValueError(f"a {type(self).__name__} cannot be sharded; use --trainer.strategy ddp")

    def configure_callbacks(self) -> list[Callback]:
        """The moving average, where one is asked for, and the average of BatchNorm over the processes."""
        average = [] if self.ema_decay is None else [EMAWeightAveraging(decay=self.ema_decay)]
        return [*average, AverageNorms()]

    def on_train_start(self) -> None:
        """After a resume, keep the momentum and decay that are configured now, not the checkpoint's."""
        for group, settings in zip(self._optimizer.param_groups, self._settings, strict=True):
            group.update(settings)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the learning rate of this step, unless a range test sets it."""
        if self.trainer.lr_scheduler_configs:
            return
        done = 0.0 if self.lr_update == "epoch" else batch_idx / self.trainer.num_training_batches
        self._schedule.step(self.current_epoch + done)  # type: ignore[arg-type]
        self.log("lr", self._optimizer.param_groups[-1]["lr"], on_step=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what makes the checkpoint usable by itself, in plain values."""
        if self.card is not None:
            checkpoint["card"] = self.card.to_plain()
        checkpoint["run"] = {
            "init_from": self.init_from,
            "ema": self.ema_decay is not None,
            "optimizer": self.optimizer_fields,
        }

    @property
    def _optimizer(self) -> Optimizer:
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        return optimizer


def class_path(thing: object) -> str:
    """Where a recipe finds a class, or that of an object: one of this package by the folder that exports it."""
    kind = thing if isinstance(thing, type) else type(thing)
    parts = kind.__module__.split(".")
    return ".".join([*(parts[:2] if parts[0] == "cotnet" else parts), kind.__name__])
