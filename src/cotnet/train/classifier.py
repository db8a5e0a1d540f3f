"""A timm network, its loss, optimizer and metrics, as a Lightning module."""

import copy
from typing import Any

import timm
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from timm.data import Mixup
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from cotnet.models.names import check_name
from cotnet.models.weights_file import WeightsCard
from cotnet.train.optimizer import cosine_schedule, scaled_learning_rate, sgd

Batch = tuple[Tensor, Tensor]


class Classifier(LightningModule):
    """Trains any timm network to name pictures.

    Args:
        name: Name in timm's registry.
        num_classes: Number of classes, at least 2.
        kwargs: Further arguments of the network's constructor.
        init_from: Weights to start from: what `cotnet train` wrote, or a released ``.pth.tar``.
        base_lr: Peak learning rate for 256 pictures per step; the real one is ``base_lr * global batch / 256``.
        momentum: SGD momentum.
        nesterov: Use Nesterov's momentum.
        weight_decay: Weight decay, of parameters of two dimensions and more.
        warmup_epochs: Epochs of linear warm-up.
        warmup_lr: Learning rate at its start.
        final_lr: Learning rate at the end of the cosine.
        label_smoothing: Share of the target spread over all classes.
        mixup: Alpha of mixup, 0 for none.
        cutmix: Alpha of CutMix, 0 for none; with both, each batch gets one of the two.
        drop_rate: Dropout before the classifier.
        drop_path_rate: Stochastic depth of the last block, growing linearly from 0.
        ema_decay: Decay of a moving average of weights and buffers, which is then validated and kept; None for none.

    Raises:
        ValueError: The name is unknown, or a number is outside its range.
    """

    def __init__(
        self,
        name: str,
        *,
        num_classes: int,
        kwargs: dict[str, Any] | None = None,
        init_from: str | None = None,
        base_lr: float = 0.1,
        momentum: float = 0.9,
        nesterov: bool = True,
        weight_decay: float = 1e-4,
        warmup_epochs: float = 5.0,
        warmup_lr: float = 0.0,
        final_lr: float = 0.0,
        label_smoothing: float = 0.1,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        ema_decay: float | None = None,
    ) -> None:
        super().__init__()
        _check_ranges(
            at_least_0={"momentum": momentum, "weight_decay": weight_decay, "warmup_epochs": warmup_epochs}
            | {"warmup_lr": warmup_lr, "final_lr": final_lr, "mixup": mixup, "cutmix": cutmix},
            below_1={"label_smoothing": label_smoothing, "drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
            | {"ema_decay": ema_decay or 0.0},
            above_0={"base_lr": base_lr},
        )
        if num_classes < 2:
            raise ValueError(f"training needs at least two classes, got {num_classes}")
        self.name = name
        self.kwargs = dict(kwargs or {})
        self.init_from = init_from
        self.base_lr = base_lr
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.warmup_lr = warmup_lr
        self.final_lr = final_lr
        self.label_smoothing = label_smoothing
        self.ema_decay = ema_decay
        self.card: WeightsCard | None = None
        self.network = create_network(
            name, num_classes=num_classes, drop_rate=drop_rate, drop_path_rate=drop_path_rate, **self.kwargs
        ).to(memory_format=torch.channels_last)  # the faster layout for convolutions, on CPU and GPU
        self.mix = (
            Mixup(mixup_alpha=mixup, cutmix_alpha=cutmix, label_smoothing=label_smoothing, num_classes=num_classes)
            if mixup or cutmix
            else None
        )
        top5 = min(5, num_classes)
        self.train_top1 = MulticlassAccuracy(num_classes, average="micro")
        self.val_top1 = MulticlassAccuracy(num_classes, average="micro")
        self.val_top5 = MulticlassAccuracy(num_classes, top_k=top5, average="micro")
        self.confusion = MulticlassConfusionMatrix(num_classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits [N, classes] of pictures [N, 3, H, W]."""
        return self.network(pictures.contiguous(memory_format=torch.channels_last))

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Loss and top-1 of one batch."""
        pictures, labels = batch
        if self.mix is None:
            logits = self(pictures)
            loss = functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        else:  # the mixed targets are smoothed already
            mixed, targets = self.mix(pictures, labels)
            logits = self(mixed)
            loss = functional.cross_entropy(logits, targets)
            labels = targets.argmax(1)
        self.train_top1.update(logits, labels)
        top1 = (logits.detach().argmax(1) == labels).float().mean()
        self.log("train_loss", loss, on_step=True, on_epoch=True, batch_size=len(pictures))
        self.log("train_top1", self.train_top1, on_step=False, on_epoch=True)
        return {"loss": loss, "top1": top1}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Metrics of one batch."""
        pictures, labels = batch
        logits = self(pictures)
        self.val_top1.update(logits, labels)
        self.val_top5.update(logits, labels)
        self.confusion.update(logits, labels)
        self.log("val_loss", functional.cross_entropy(logits, labels), on_epoch=True, batch_size=len(pictures))
        self.log("val_top1", self.val_top1, on_epoch=True)
        self.log("val_top5", self.val_top5, on_epoch=True)

    def on_validation_epoch_start(self) -> None:
        """Forget the confusion of the epoch before."""
        self.confusion.reset()

    @property
    def global_batch(self) -> int:
        """Pictures per optimizer step, over all devices and accumulated batches."""
        per_device: int = self.trainer.datamodule.batch_size  # type: ignore[attr-defined]
        return per_device * self.trainer.world_size * self.trainer.accumulate_grad_batches

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """SGD at the scaled learning rate. The schedule is a function of the epoch and holds no state to restore."""
        optimizer = sgd(
            self.network,
            lr=scaled_learning_rate(self.base_lr, self.global_batch),
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )
        # As configured now; a checkpoint restores its own later, see on_train_start.
        self._settings = [{key: group[key] for key in group if key != "params"} for group in optimizer.param_groups]
        epochs = self.trainer.max_epochs
        assert epochs is not None
        self._schedule = cosine_schedule(
            optimizer,
            epochs=epochs,
            warmup_epochs=self.warmup_epochs,
            warmup_lr=self.warmup_lr,
            final_lr=self.final_lr,
        )
        return optimizer

    def configure_callbacks(self) -> list[Callback]:
        """The moving average, where one is asked for."""
        return [] if self.ema_decay is None else [EMAWeightAveraging(decay=self.ema_decay)]

    def on_train_start(self) -> None:
        """After a resume, hold to the momentum and decay that are configured now, not to the checkpoint's."""
        for group, settings in zip(self._optimizer.param_groups, self._settings, strict=True):
            group.update(settings)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the learning rate of this step."""
        self._schedule.step(self.current_epoch + batch_idx / self.trainer.num_training_batches)  # type: ignore[arg-type]
        self.log("lr", self._optimizer.param_groups[-1]["lr"], on_step=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what makes the checkpoint usable by itself, in plain values."""
        if self.card is not None:
            checkpoint["card"] = self.card.to_plain()
        checkpoint["run"] = {"init_from": self.init_from, "ema": self.ema_decay is not None}

    def check_size(self, size: int, batch_size: int) -> None:
        """Run shapes alone through a copy of the network.

        Args:
            size: Side of the square pictures in pixels.
            batch_size: Pictures per step.

        Raises:
            ValueError: The network cannot take such pictures or batches.
        """
        stride = max(info["reduction"] for info in getattr(self.network, "feature_info", [{"reduction": 1}]))
        if size < stride:
            raise ValueError(f"data.size {size} is too small for {self.name}: it needs at least {stride} pixels")
        if self.mix is not None and batch_size % 2:
            raise ValueError(f"mixup and CutMix mix pairs: data.batch_size must be even, got {batch_size}")
        shapes_only = copy.deepcopy(self.network).to("meta").train()
        try:
            shapes_only(torch.empty(min(batch_size, 2), 3, size, size, device="meta"))
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{self.name} cannot train on {batch_size} pictures of {size} pixels at a time ({reason}); "
                "change --data.size or --data.batch_size"
            ) from error

    @property
    def _optimizer(self) -> torch.optim.Optimizer:
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        return optimizer


def create_network(name: str, **kwargs: Any) -> nn.Module:
    """A network of timm's registry, of which this package's names are a part.

    Raises:
        ValueError: The name is unknown, or the network refuses an argument.
    """
    check_name(name)
    try:
        return timm.create_model(name, **kwargs)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ValueError(f"cannot build {name} with {kwargs}: {error}") from error


def _check_ranges(*, at_least_0: dict[str, float], below_1: dict[str, float], above_0: dict[str, float]) -> None:
    inf = float("inf")
    for name, value in at_least_0.items():
        if not 0 <= value < inf:
            raise ValueError(f"model.{name} must be at least 0, got {value}")
    for name, value in below_1.items():
        if not 0 <= value < 1:
            raise ValueError(f"model.{name} must be at least 0 and below 1, got {value}")
    for name, value in above_0.items():
        if not 0 < value < inf:
            raise ValueError(f"model.{name} must be above 0, got {value}")
