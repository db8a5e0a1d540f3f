"""A segmenter, its optimizer and metrics, as a Lightning module."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.scheduler.scheduler import Scheduler
from torch import Tensor
from torch.optim import Optimizer

from cotnet.detection.coco.dataset import Batch
from cotnet.detection.coco.source import describe_source
from cotnet.detection.notes import note_frozen_parts
from cotnet.detection.optimizer import OptimizerName, OptimizerOptions, check_ranges
from cotnet.detection.pyramid import Norm
from cotnet.files.weights import WeightsCard
from cotnet.models import load_entries
from cotnet.segmentation.labels import IGNORED, PixelTally, label_map, mean_iou
from cotnet.segmentation.network import MAX_SIZE, create_segmenter, segment, to_batch
from cotnet.training.module import TrainingModule


class Segmenter(TrainingModule):
    """Trains a semantic pyramid on the masks of a COCO set.

    Args:
        name: The backbone's name in timm's registry.
        num_classes: Number of classes, without the background.
        kwargs: Further arguments of the backbone's constructor.
        channels: Width of the pyramid and of the head.
        norm: Normalisation in pyramid and head: ``batch``, ``group`` or ``none``.
        frozen: The number of first parts of the body that do not train: 0 none, 1 the stem, 2 the stem and res2.
        size: Shorter side of an image in pixels, to which it is resized.
        init_from: Weights of a classifier of the same name to start from, released or trained here.
        optimizer: ``sgd`` or ``adamw``.
        base_lr: Peak learning rate for 16 images per step; the real one is ``base_lr * global batch / 16``.
        momentum: SGD's momentum, AdamW's first beta.
        weight_decay: Weight decay of all parameters but those of norms.
        warmup_epochs: Epochs of linear warm-up; a cosine to zero follows.
        ema_decay: Decay of a moving average of weights and buffers, which is then validated and kept; None for none.

    Raises:
        ValueError: A name is unknown, or a number is outside its range.
    """

    monitor = "val_miou"
    monitor_label = "val mean IoU"
    columns = ("train_loss", "val_miou", "val_pixels")
    panels = (
        ("training loss", 1, {"train_loss": "cross-entropy"}),
        ("validation in %", 100, {"val_miou": "mean IoU", "val_pixels": "pixels right"}),
    )
    progress = (("mean IoU", "val_miou", "{:.1%}"), ("pixels", "val_pixels", "{:.1%}"))

    def __init__(
        self,
        name: str,
        *,
        num_classes: int,
        kwargs: dict[str, Any] | None = None,
        channels: int = 128,
        norm: Norm = "group",
        frozen: int = 0,
        size: int = 512,
        init_from: str | None = None,
        optimizer: OptimizerName = "adamw",
        base_lr: float = 2e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.05,
        warmup_epochs: float = 1.0,
        ema_decay: float | None = None,
    ) -> None:
        super().__init__()
        self.options = OptimizerOptions(
            optimizer=optimizer,
            base_lr=base_lr,
            momentum=momentum,
            weight_decay=weight_decay,
            warmup_epochs=warmup_epochs,
        )
        check_ranges(size=(size, 32, None), ema_decay=(ema_decay or 0, 0, 1))
        self.name = name
        self.kwargs = {"channels": channels, "norm": norm, "frozen": frozen, "backbone_options": kwargs or {}}
        self.size = size
        self.init_from, self.base_lr = init_from, base_lr
        self.warmup_epochs, self.ema_decay = warmup_epochs, ema_decay
        self.network: Any = create_segmenter(name, num_classes=num_classes, **self.kwargs)
        self.tally = PixelTally(num_classes + 1)

    def forward(self, images: list[Tensor]) -> list[Tensor]:
        """The class of each pixel, uint8 [H, W], of images [3, H, W] of values in 0 to 1."""
        return segment(self.network, images, self.size)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Cross-entropy over the pixels of one batch."""
        images, targets = batch
        inputs, sizes = to_batch(images, self.size)
        wanted = torch.full(inputs[:, 0].shape, IGNORED, device=self.device)
        for row, target, (height, width), image in zip(wanted, targets, sizes, images, strict=True):
            labels = label_map(target, (image.shape[-2], image.shape[-1])).to(self.device)
            row[:height, :width] = F.interpolate(labels[None, None].float(), size=(height, width), mode="nearest")[0, 0]
        loss = F.cross_entropy(self.network(inputs), wanted.long(), ignore_index=IGNORED)
        self.log("train_loss", loss, on_step=True, on_epoch=True, batch_size=len(images))
        return {"loss": loss}

    def on_validation_epoch_start(self) -> None:
        """Forget the pixels of the previous epoch."""
        self.tally.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count the pixels of one batch at the images' own sizes."""
        self.tally.update(batch, self(batch[0]))

    def on_validation_epoch_end(self) -> None:
        """Mean IoU over the pixels of all ranks."""
        self.tally.reduce()
        counts = self.tally.counts
        self.log("val_miou", mean_iou(counts)[0])
        self.log("val_pixels", float(counts.diagonal().sum() / counts.sum()))

    def create_optimizer(self) -> tuple[Optimizer, Scheduler]:
        """SGD or AdamW at the scaled learning rate, and a cosine."""
        assert self.trainer.max_epochs is not None
        return self.options.create(self.network, global_batch=self.global_batch, epochs=self.trainer.max_epochs)

    @property
    def optimizer_fields(self) -> dict[str, Any]:
        return {"optimizer": self.options.optimizer}

    def describe(self, data: Any) -> WeightsCard:
        return WeightsCard(
            task="segmentation",
            model=self.name,
            kwargs=self.kwargs,
            class_names=data.class_names,
            preprocessing={
                "input_size": [3, self.size, MAX_SIZE],
                "mean": list(IMAGENET_DEFAULT_MEAN),
                "std": list(IMAGENET_DEFAULT_STD),
                "interpolation": "bilinear",
                "crop_pct": 1.0,
            },
            data=describe_source(data),
        )

    def on_fit_start(self) -> None:
        """Say what stays random in a run that starts from random weights."""
        note_frozen_parts(self, self.kwargs)

    def check_data(self, data: Any) -> None:
        if not data.masks:
            raise ValueError("a segmenter trains on masks: pass --data.masks true")

    def load_entries(self, entries: dict[str, Tensor]) -> None:
        load_entries(self.network.backbone.body, entries)

    def draw(self, folder: Path) -> None:
        """Draw the confusion of pixels, and images with their annotations and answers."""
        assert self.card is not None
        self.tally.draw(self.card.class_names, folder)
