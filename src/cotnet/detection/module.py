"""A detector, its optimizer and metrics, as a Lightning module."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback
from timm.scheduler.scheduler import Scheduler
from torch import Tensor
from torch.optim import Optimizer

from cotnet.detection.detector import create_detector
from cotnet.detection.evaluate import Batch, collect
from cotnet.detection.load import TASK, load_start
from cotnet.detection.optimizer import OptimizerName, create_optimizer, create_schedule
from cotnet.detection.precise_norm import PreciseNorm
from cotnet.detection.pyramid import Norm
from cotnet.detection.report import draw_report
from cotnet.detection.scores import Precision, Result, average_precision, gather
from cotnet.files.weights import WeightsCard
from cotnet.training.module import TrainingModule, class_path

_LOSSES = ("loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg")


class Detector(TrainingModule):
    """Trains Faster, Mask, Cascade or Cascade Mask R-CNN on any network of timm that has maps of strides 4 to 32.

    Args:
        name: The backbone's name in timm's registry.
        num_classes: Number of classes, without the background.
        detector: ``faster_rcnn``, ``mask_rcnn``, ``cascade_rcnn`` or ``cascade_mask_rcnn``.
        kwargs: Further arguments of `cotnet.detection.create_detector`, such as ``channels`` or ``anchor_sizes``, and
            of torchvision's ``FasterRCNN``.
        norm: Normalisation in pyramid and heads: ``batch``, ``group`` or ``none``. ``--trainer.sync_batchnorm true``
            synchronises ``batch`` over devices.
        frozen: First parts of the body that do not train: 0 none, 1 the stem, 2 the stem and res2.
        frozen_norm: Keep every BatchNorm of the body as it is.
        sizes: Least and greatest shorter side of a training image in pixels; evaluation takes the greatest.
        size_step: Training draws from every size, this many pixels apart.
        max_size: The most that the longer side may have.
        init_from: Weights to start from: a classifier of the same name, released or trained here, for the body; a
            released detector's backbone; or a detector that `cotnet train` wrote.
        optimizer: ``sgd`` or ``adamw``.
        base_lr: Peak learning rate for 16 images per step; the real one is ``base_lr * global batch / 16``.
        momentum: SGD's momentum, AdamW's first beta.
        weight_decay: Weight decay, of all but the norms' parameters.
        milestones: Epochs at which the rate falls to a tenth; None for a cosine.
        warmup_epochs: Epochs of linear warm-up.
        warmup_factor: Its start, as a part of the peak rate.
        precise_norm: Training batches over which BatchNorm statistics are estimated anew before an evaluation; not
            together with ``ema_decay``.
        ema_decay: Decay of a moving average of weights and buffers, which is then validated and kept; None for none.

    Raises:
        ValueError: A name is unknown, or a number is outside its range.
    """

    def __init__(
        self,
        name: str,
        *,
        num_classes: int,
        detector: Literal["faster_rcnn", "mask_rcnn", "cascade_rcnn", "cascade_mask_rcnn"] = "faster_rcnn",
        kwargs: dict[str, Any] | None = None,
        norm: Norm = "batch",
        frozen: int = 2,
        frozen_norm: bool = False,
        sizes: tuple[int, int] = (640, 800),
        size_step: int = 32,
        max_size: int = 1333,
        init_from: str | None = None,
        optimizer: OptimizerName = "sgd",
        base_lr: float = 0.02,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        milestones: Sequence[float] | None = None,
        warmup_epochs: float = 0.2,
        warmup_factor: float = 0.001,
        precise_norm: int = 0,
        ema_decay: float | None = None,
    ) -> None:
        super().__init__()
        _check(
            base_lr=(base_lr, 1e-12, None),
            momentum=(momentum, 0, 1),
            weight_decay=(weight_decay, 0, None),
            warmup_epochs=(warmup_epochs, 0, None),
            warmup_factor=(warmup_factor, 0, 1),
            precise_norm=(precise_norm, 0, None),
            ema_decay=(ema_decay or 0, 0, 1),
            size_step=(size_step, 1, None),
            sizes=(sizes[0], 1, sizes[1]),
            max_size=(max_size, sizes[1], None),
        )
        if precise_norm and ema_decay is not None:
            raise ValueError(
                f"model.precise_norm {precise_norm} estimates the statistics of the weights as they are, and "
                f"model.ema_decay {ema_decay} validates their average: use one of them"
            )
        self.name = name
        self.kwargs = {
            "detector": detector,
            "norm": norm,
            "frozen": frozen,
            "frozen_norm": frozen_norm,
            "min_size": sorted({*range(sizes[0], sizes[1] + 1, size_step), sizes[1]}),
            "max_size": max_size,
            **(kwargs or {}),
        }
        self.init_from = init_from
        self.optimizer, self.base_lr, self.momentum, self.weight_decay = optimizer, base_lr, momentum, weight_decay
        self.milestones = milestones
        self.warmup_epochs, self.warmup_factor = warmup_epochs, warmup_factor
        self.precise_norm = precise_norm
        self.ema_decay = ema_decay
        self.network: Any = create_detector(backbone=name, num_classes=num_classes, **self.kwargs)
        self.masks = "mask" in detector
        kinds = ("box", "mask") if self.masks else ("box",)
        self.monitor = f"val_{kinds[-1]}_ap"
        self.monitor_label = f"val {kinds[-1]} AP"
        scores = {
            f"val_{kind}_{score}": f"{kind} {score.upper()}" for kind in kinds for score in ("ap", "ap50", "ap75")
        }
        stages = [""] if not detector.startswith("cascade") else ["_1", "_2", "_3"]
        losses = [f"{loss}{stage}" for loss in _LOSSES[:2] for stage in stages] + list(_LOSSES[2:])
        losses += ["loss_mask"] if self.masks else []
        self.columns = ("train_loss", *losses, *scores)
        self.panels = (
            ("training loss", 1, {"train_loss": "all"} | {loss: loss.removeprefix("loss_") for loss in losses}),
            ("validation AP in %", 100, scores),
        )
        self.progress = tuple((label, metric, "{:.1%}") for metric, label in scores.items() if "75" not in metric)
        self._results: dict[int, list[Result]] = {}
        self.precision: dict[str, Precision] = {}

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        """Detections of images [3, H, W] in 0 to 1."""
        return self.network(images)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The sum of the losses of one batch."""
        losses = self.network(*batch)
        loss = sum(losses.values(), torch.zeros((), device=self.device))
        count = len(batch[0])
        self.log("train_loss", loss, on_step=True, on_epoch=True, batch_size=count)
        self.log_dict(losses, on_step=False, on_epoch=True, batch_size=count)
        return {"loss": loss}

    def on_validation_epoch_start(self) -> None:
        """Forget the detections of the epoch before."""
        self._results = {}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the detections of one batch."""
        ids = self.trainer.datamodule.category_ids  # type: ignore[attr-defined]
        self._results |= collect(self.network, batch, ids)

    def on_validation_epoch_end(self) -> None:
        """Average precision over the images of all ranks, each once."""
        self._results = gather(self._results)
        annotations = self.trainer.datamodule.val_set.annotations  # type: ignore[attr-defined]
        seen = annotations.only(self._results)  # fewer than all where trainer.limit_val_batches says so
        found = [one for results in self._results.values() for one in results]
        for kind in ("box", "mask") if self.masks else ("box",):
            scores = self.precision[kind] = average_precision(seen, found, masks=kind == "mask")
            for name in ("ap", "ap50", "ap75"):
                value = getattr(scores, name)
                self.log(f"val_{kind}_{name}", 0.0 if value != value else value)

    def create_optimizer(self) -> tuple[Optimizer, Scheduler]:
        """SGD or AdamW at the scaled learning rate, and its schedule."""
        optimizer = create_optimizer(
            self.optimizer,
            self.network,
            lr=self.base_lr * self.global_batch / 16,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )
        assert self.trainer.max_epochs is not None
        return optimizer, create_schedule(
            optimizer,
            epochs=self.trainer.max_epochs,
            milestones=self.milestones,
            warmup_epochs=self.warmup_epochs,
            warmup_factor=self.warmup_factor,
        )

    def configure_callbacks(self) -> list[Callback]:
        """Precise statistics and the moving average, where they are asked for."""
        own: list[Callback] = [PreciseNorm(self.precise_norm)] if self.precise_norm else []
        return own + super().configure_callbacks()

    @property
    def optimizer_fields(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer}

    def describe(self, data: Any) -> WeightsCard:
        transform = self.network.transform
        return WeightsCard(
            task=TASK,
            model=self.name,
            kwargs=self.kwargs,
            class_names=data.class_names,
            preprocessing={
                "input_size": [3, transform.min_size[-1], transform.max_size],
                "mean": list(transform.image_mean),
                "std": list(transform.image_std),
                "interpolation": "bilinear",
                "crop_pct": 1.0,
            },
            data={
                "class_path": class_path(data),
                "init_args": data.source,
                "category_ids": data.category_ids,
            },
        )

    def check_data(self, data: Any) -> None:
        if not hasattr(data, "category_ids"):
            raise ValueError(f"a detector trains on cotnet.detection.CocoData, not on {class_path(data)}")
        if self.masks and not data.masks:
            raise ValueError(f"{self.kwargs['detector']} needs masks: pass --data.masks true")

    def load_entries(self, entries: dict[str, Tensor]) -> None:
        load_start(self.network, entries)

    def draw(self, folder: Path) -> None:
        """Precision over recall, the confusion of classes, and images with what was found."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        draw_report(self.precision, data.val_set.only(self._results), self._results, folder)


def _check(**ranges: tuple[float, float, float | None]) -> None:
    for name, (value, least, most) in ranges.items():
        if not (least <= value and (most is None or value <= most) and value < float("inf")):
            upper = "" if most is None else f" and at most {most:g}"
            raise ValueError(f"model.{name} must be at least {least:g}{upper}, got {value:g}")
