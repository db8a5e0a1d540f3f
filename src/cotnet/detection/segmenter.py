"""A network for semantic segmentation, its optimizer and metrics, as a Lightning module."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.scheduler.scheduler import Scheduler
from torch import Tensor
from torch.optim import Optimizer
from torchvision.transforms.functional import normalize, to_pil_image

from cotnet.detection.backbone import Norm
from cotnet.detection.drawing import color_of
from cotnet.detection.evaluate import Batch
from cotnet.detection.optimizer import OptimizerName, create_optimizer, create_schedule
from cotnet.detection.semantic import IGNORED, create_segmenter, label_map, mean_iou
from cotnet.models import load_entries
from cotnet.models.weights_file import WeightsCard
from cotnet.train.module import TrainingModule, class_path
from cotnet.train.plots import draw_confusion

_SAMPLES, _MOST = 4, 1333


class Segmenter(TrainingModule):
    """Trains a semantic pyramid on the masks of a COCO set.

    Args:
        name: The backbone's name in timm's registry.
        num_classes: Number of classes, without the background.
        kwargs: Further arguments of the backbone's constructor.
        channels: Width of the pyramid and of the head.
        norm: Normalisation in pyramid and head: ``batch``, ``group`` or ``none``.
        frozen: First parts of the body that do not train: 0 none, 1 the stem, 2 the stem and res2.
        size: Shorter side of a picture in pixels, to which it is resized.
        init_from: Weights of a classifier of the same name to start from, released or trained here.
        optimizer: ``sgd`` or ``adamw``.
        base_lr: Peak learning rate for 16 pictures per step; the real one is ``base_lr * global batch / 16``.
        momentum: SGD's momentum, AdamW's first beta.
        weight_decay: Weight decay, of all but the norms' parameters.
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
        for label, value, least in (("size", size, 32), ("base_lr", base_lr, 1e-12), ("weight_decay", weight_decay, 0)):
            if not value >= least:
                raise ValueError(f"model.{label} must be at least {least:g}, got {value:g}")
        self.name = name
        self.kwargs = {"channels": channels, "norm": norm, "frozen": frozen, "backbone_options": kwargs or {}}
        self.size = size
        self.init_from = init_from
        self.optimizer, self.base_lr, self.momentum, self.weight_decay = optimizer, base_lr, momentum, weight_decay
        self.warmup_epochs = warmup_epochs
        self.ema_decay = ema_decay
        self.network: Any = create_segmenter(name, num_classes=num_classes, **self.kwargs)
        self.pixels: Tensor
        self.register_buffer(
            "pixels", torch.zeros(num_classes + 1, num_classes + 1, dtype=torch.int64), persistent=False
        )
        self._samples: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, pictures: list[Tensor]) -> list[Tensor]:
        """Logits [classes, H, W] of pictures [3, H, W] in 0 to 1, each at its own size."""
        batch, inner = self._batch(pictures)
        logits = self.network(batch)
        return [
            F.interpolate(x[None, :, :height, :width], size=picture.shape[-2:], mode="bilinear", align_corners=False)[0]
            for x, (height, width), picture in zip(logits, inner, pictures, strict=True)
        ]

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Cross-entropy over the pixels of one batch."""
        pictures, targets = batch
        inputs, inner = self._batch(pictures)
        wanted = torch.full(inputs[:, 0].shape, IGNORED, device=self.device)
        for row, target, (height, width), picture in zip(wanted, targets, inner, pictures, strict=True):
            labels = label_map(target, (picture.shape[-2], picture.shape[-1])).to(self.device)
            row[:height, :width] = F.interpolate(labels[None, None].float(), size=(height, width), mode="nearest")[0, 0]
        loss = F.cross_entropy(self.network(inputs), wanted.long(), ignore_index=IGNORED)
        self.log("train_loss", loss, on_step=True, on_epoch=True, batch_size=len(pictures))
        return {"loss": loss}

    def on_validation_epoch_start(self) -> None:
        """Forget the pixels of the epoch before."""
        self.pixels.zero_()
        self._samples = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count the pixels of one batch at the pictures' own sizes."""
        pictures, targets = batch
        classes = len(self.pixels)
        for picture, target, logits in zip(pictures, targets, self(pictures), strict=True):
            truth = label_map(target, (picture.shape[-2], picture.shape[-1])).to(self.device).long()
            answer = logits.argmax(0)
            self.pixels += torch.bincount((truth * classes + answer).flatten(), minlength=classes**2).view_as(
                self.pixels
            )
            if len(self._samples) < _SAMPLES:
                self._samples.append((picture.cpu(), truth.cpu(), answer.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Mean IoU over the pixels of all ranks."""
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(self.pixels)
        self.log("val_miou", mean_iou(self.pixels)[0])
        self.log("val_pixels", float(self.pixels.diagonal().sum() / self.pixels.sum()))

    def create_optimizer(self) -> tuple[Optimizer, Scheduler]:
        """SGD or AdamW at the scaled learning rate, and a cosine."""
        lr = self.base_lr * self.global_batch / 16
        optimizer = create_optimizer(
            self.optimizer, self.network, lr=lr, momentum=self.momentum, weight_decay=self.weight_decay
        )
        assert self.trainer.max_epochs is not None
        return optimizer, create_schedule(
            optimizer,
            epochs=self.trainer.max_epochs,
            milestones=None,
            warmup_epochs=self.warmup_epochs,
            warmup_factor=0.001,
        )

    def describe(self, data: Any) -> WeightsCard:
        return WeightsCard(
            task="segmentation",
            model=self.name,
            kwargs=self.kwargs,
            class_names=data.class_names,
            preprocessing={
                "input_size": [3, self.size, _MOST],
                "mean": list(IMAGENET_DEFAULT_MEAN),
                "std": list(IMAGENET_DEFAULT_STD),
                "interpolation": "bilinear",
                "crop_pct": 1.0,
            },
            data={"class_path": class_path(data), "init_args": data.source, "category_ids": data.category_ids},
        )

    def check_data(self, data: Any) -> None:
        if not getattr(data, "masks", False):
            raise ValueError("segmentation trains on masks: use cotnet.detection.CocoData and --data.masks true")

    def load_entries(self, entries: dict[str, Tensor]) -> None:
        load_entries(self.network.backbone.body, entries)

    def draw(self, folder: Path) -> None:
        """The confusion of pixels, and pictures with their truth and the answer."""
        assert self.card is not None
        mean, _ = mean_iou(self.pixels)
        names = ["(background)", *self.card.class_names]
        draw_confusion(self.pixels.cpu().numpy(), names, folder / "confusion.png", title=f"mean IoU {mean:.1%}")
        rows = [
            [to_pil_image(picture), _painted(picture, truth), _painted(picture, answer)]
            for picture, truth, answer in self._samples
        ]
        side = max(image.width for row in rows for image in row)
        tall = max(image.height for row in rows for image in row)
        sheet = Image.new("RGB", (len(rows) * (side + 6) - 6, 3 * (tall + 6) - 6), "white")
        for column, row in enumerate(rows):
            for line, image in enumerate(row):
                sheet.paste(image, (column * (side + 6), line * (tall + 6)))
        sheet.save(folder / "samples.jpg", quality=85)

    def _batch(self, pictures: list[Tensor]) -> tuple[Tensor, list[tuple[int, int]]]:
        """Pictures resized and normalised in one batch whose sides are multiples of 32, and the size of each in it."""
        resized = []
        for picture in pictures:
            short, long = sorted(picture.shape[-2:])
            scale = min(self.size / short, _MOST / long)
            height, width = (max(1, round(side * scale)) for side in picture.shape[-2:])
            small = F.interpolate(
                picture[None], size=(height, width), mode="bilinear", align_corners=False, antialias=True
            )[0]
            resized.append(normalize(small, list(IMAGENET_DEFAULT_MEAN), list(IMAGENET_DEFAULT_STD)))
        inner = [(x.shape[-2], x.shape[-1]) for x in resized]
        tall, wide = (-(-max(side) // 32) * 32 for side in zip(*inner, strict=True))
        batch = resized[0].new_zeros(len(resized), 3, tall, wide)
        for row, x in zip(batch, resized, strict=True):
            row[:, : x.shape[-2], : x.shape[-1]] = x
        return batch, inner


def _painted(picture: Tensor, labels: Tensor) -> Image.Image:
    """A picture with every object pixel tinted in its class's colour."""
    canvas = to_pil_image(picture)
    for label in labels.unique().tolist():
        if label > 0:
            mask = to_pil_image(((labels == label) * 140).to(torch.uint8))
            canvas.paste(Image.new("RGB", canvas.size, color_of(label - 1)), mask=mask)
    return canvas
