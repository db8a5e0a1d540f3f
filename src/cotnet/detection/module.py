"""A detector, its optimizer and metrics, as a Lightning module."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback
from timm.scheduler.scheduler import Scheduler
from torch import Tensor
from torch.optim import Optimizer

from cotnet.detection.coco.dataset import Batch
from cotnet.detection.coco.source import describe_source
from cotnet.detection.evaluate import collect
from cotnet.detection.figures import draw_report
from cotnet.detection.load import TASK, load_start, without_classes
from cotnet.detection.networks import create_detector, detection_limits
from cotnet.detection.notes import crowded_images, note_frozen_parts, print_note
from cotnet.detection.optimizer import BASE_BATCH, OptimizerName, OptimizerOptions, check_ranges
from cotnet.detection.precise_norm import PreciseNorm
from cotnet.detection.pyramid import Norm
from cotnet.detection.scores import Precision, Result, average_precision, gather
from cotnet.files.weights import WeightsCard
from cotnet.models.weights_file import WeightsFile
from cotnet.training.module import TrainingModule
from cotnet.training.start import class_names


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
        frozen: The number of first parts of the body that do not train: 0 none, 1 the stem, 2 the stem and res2.
        frozen_norm: Freeze every BatchNorm of the body.
        sizes: Minimum and maximum of a training image's shorter side in pixels; evaluation takes the maximum.
        size_step: Training draws from the sizes that are this many pixels apart.
        max_size: Maximum of the longer side in pixels.
        init_from: Weights to start from: a classifier of the same name, released or trained here, for the body; a
            released detector's backbone; or a detector that `cotnet train` wrote.
        optimizer: ``sgd`` or ``adamw``.
        base_lr: Peak learning rate for 16 images per step; the real one is ``base_lr * global batch / 16``.
        momentum: SGD's momentum, AdamW's first beta.
        weight_decay: Weight decay of all parameters but those of norms.
        milestones: Epochs at which the rate falls to a tenth; None for a cosine.
        warmup_epochs: Epochs of linear warm-up.
        warmup_factor: Learning rate at its start, as a fraction of the peak.
        precise_norm: Training batches over which BatchNorm statistics are estimated again before an evaluation; not
            together with ``ema_decay``.
        ema_decay: Decay of a moving average of weights and buffers, which is then validated and kept; None for none.

    Raises:
        ValueError: A name is unknown, or a number is outside its range.
    """

    base_batch = BASE_BATCH

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
        self.options = OptimizerOptions(
            optimizer=optimizer,
            base_lr=base_lr,
            momentum=momentum,
            weight_decay=weight_decay,
            milestones=milestones,
            warmup_epochs=warmup_epochs,
            warmup_factor=warmup_factor,
        )
        check_ranges(
            precise_norm=(precise_norm, 0, None),
            ema_decay=(ema_decay or 0, 0, 1),
            size_step=(size_step, 1, None),
            sizes=(sizes[0], 1, sizes[1]),
            max_size=(max_size, sizes[1], None),
        )
        if precise_norm and ema_decay is not None:
            raise ValueError(
                f"model.precise_norm {precise_norm} estimates the statistics of the current weights, and "
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
        self.init_from, self.base_lr = init_from, base_lr
        self.warmup_epochs, self.ema_decay = warmup_epochs, ema_decay
        self.precise_norm = precise_norm
        self.network: Any = create_detector(backbone=name, num_classes=num_classes, **self.kwargs)
        self._choose_metrics(detector)
        self._results: dict[int, list[Result]] = {}
        self.precision: dict[str, Precision] = {}

    def _choose_metrics(self, detector: str) -> None:
        """Set what the run shows of this kind of detector."""
        self.kinds = ("box", "mask") if "mask" in detector else ("box",)
        self.monitor = f"val_{self.kinds[-1]}_ap"
        self.monitor_label = f"val {self.kinds[-1]} AP"
        scores = {
            f"val_{kind}_{score}": f"{kind} {score.upper()}" for kind in self.kinds for score in ("ap", "ap50", "ap75")
        }
        stages = ["_1", "_2", "_3"] if detector.startswith("cascade") else [""]
        losses = [f"{loss}{stage}" for loss in ("loss_classifier", "loss_box_reg") for stage in stages]
        losses += ["loss_objectness", "loss_rpn_box_reg", *(["loss_mask"] if "mask" in self.kinds else [])]
        self.columns = ("train_loss", *losses, *scores)
        self.panels = (
            ("training loss", 1, {"train_loss": "all"} | {loss: loss.removeprefix("loss_") for loss in losses}),
            ("validation AP in %", 100, scores),
        )
        self.progress = tuple((label, metric, "{:.1%}") for metric, label in scores.items() if "75" not in metric)

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        """Detections in images [3, H, W] of values in 0 to 1."""
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
        """Forget the detections of the previous epoch."""
        self._results = {}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the detections of one batch."""
        ids = self.trainer.datamodule.category_ids  # type: ignore[attr-defined]
        self._results |= collect(self.network, batch, ids)

    def on_validation_epoch_end(self) -> None:
        """Average precision over the images of all ranks, each once."""
        self._results = gather(self._results)
        annotations = self.trainer.datamodule.val_set.annotations  # type: ignore[attr-defined]
        validated = annotations.only(self._results)  # fewer than all with trainer.limit_val_batches
        results = [result for entries in self._results.values() for result in entries]
        for kind in self.kinds:
            scores = self.precision[kind] = average_precision(validated, results, masks=kind == "mask")
            for name in ("ap", "ap50", "ap75"):
                value = getattr(scores, name)
                self.log(f"val_{kind}_{name}", 0.0 if value != value else value)

    def create_optimizer(self) -> tuple[Optimizer, Scheduler]:
        """SGD or AdamW at the scaled learning rate, and its schedule."""
        assert self.trainer.max_epochs is not None
        return self.options.create(self.network, lr=self.peak_lr, epochs=self.trainer.max_epochs)

    def configure_callbacks(self) -> list[Callback]:
        """Precise statistics and the moving average, where they are asked for."""
        precise: list[Callback] = [PreciseNorm(self.precise_norm)] if self.precise_norm else []
        return precise + super().configure_callbacks()

    @property
    def optimizer_fields(self) -> dict[str, Any]:
        return {"optimizer": self.options.optimizer}

    def describe(self, data: Any) -> WeightsCard:
        transform = self.network.transform
        return WeightsCard(
            task=TASK,
            model=self.name,
            kwargs=self.kwargs,
            data=describe_source(data),  # first, it refuses data of another kind
            class_names=data.class_names,
            preprocessing={
                "input_size": [3, transform.min_size[-1], transform.max_size],
                "mean": list(transform.image_mean),
                "std": list(transform.image_std),
                "interpolation": "bilinear",
                "crop_pct": 1.0,
                **data.card_fields,
            },
        )

    def on_fit_start(self) -> None:
        """Say what stays random in a run that starts from random weights."""
        note_frozen_parts(self, self.kwargs)

    def check_data(self, data: Any) -> None:
        trainer = data.trainer
        if trainer and trainer.precision in ("bf16-true", "16-true") and trainer.strategy.root_device.type == "cpu":
            raise ValueError(
                f"trainer.precision {trainer.precision} does not go with a detector on the CPU, where torchvision's "
                "operators need float32: use --trainer.precision 32-true"
            )
        if "mask" in self.kinds and not data.masks:
            raise ValueError(f"{self.kwargs['detector']} needs masks: pass --data.masks true")
        limit, _ = detection_limits(self.network)
        for images in (data.train_set, data.val_set):
            if note := crowded_images(images.annotations, limit, option="--model.kwargs.box_detections_per_img"):
                print_note(note)

    def start_from(self, file: WeightsFile) -> None:
        """Start from weights; of a detector of other classes, without what belongs to these."""
        assert self.card is not None
        of_detector = file.card is not None and file.card.task == TASK
        others = of_detector and class_names(file) != self.card.class_names
        load_start(self.network, without_classes(file.entries) if others else file.entries)

    def draw(self, folder: Path) -> None:
        """Draw precision over recall, the confusion of classes, and images with their detections."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        draw_report(self.precision, data.val_set.only(self._results), self._results, folder)
