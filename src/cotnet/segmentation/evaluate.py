"""Intersection over union of a trained segmenter over an annotated set."""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from torch import nn

from cotnet.detection.coco.dataset import Batch
from cotnet.detection.coco.module import CocoData
from cotnet.detection.coco.source import open_source
from cotnet.detection.evaluate import unusable
from cotnet.prediction.formatting import distinct, percent, plain
from cotnet.prediction.processes import processes
from cotnet.prediction.trainer import quiet_trainer
from cotnet.segmentation.labels import BACKGROUND, PixelTally, mean_iou
from cotnet.segmentation.network import segment
from cotnet.segmentation.predict import SegmentationModel


@dataclass(frozen=True)
class PixelEvaluation:
    """What a segmenter scored, fractions of 1; as text, it is the table of `cotnet validate`.

    Attributes:
        mean_iou: Mean over the classes that occur, the background among them.
        per_class: IoU of the background and of each class; NaN where one occurs neither in truth nor answer.
        pixels: Share of the pixels whose class is right.
        tally: What was counted.
        images: Number of images.
        images_per_s: Images per second, decoding and network together.
        class_names: The background and the names of the classes.
        unreadable: A sentence for each image that could not be read and is not counted.
        notes: What else is worth knowing of the data.
    """

    mean_iou: float
    per_class: list[float]
    pixels: float
    tally: PixelTally
    images: int
    images_per_s: float
    class_names: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_plain(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        names = distinct(self.class_names)
        return {
            "images": self.images,
            "images_per_s": self.images_per_s,
            "mean_iou": plain(self.mean_iou),
            "pixels": self.pixels,
            "per_class": {name: plain(iou) for name, iou in zip(names, self.per_class, strict=True)},
        }

    def __str__(self) -> str:
        width = max(map(len, self.class_names), default=0)
        pairs = zip(self.class_names, self.per_class, strict=True)
        rows = [f"{name:{width}}  {percent(iou):>6}" for name, iou in pairs]
        summary = (
            f"mean IoU {percent(self.mean_iou)}  pixels right {percent(self.pixels)}  "
            f"{self.images} images  {self.images_per_s:.1f} images/s"
        )
        return "\n".join([f"{'':{width}}     IoU", *rows, "", summary])


def validate(
    model: SegmentationModel,
    data: str | None = None,
    *,
    batch_size: int | None = None,
    num_workers: int = 0,
    annotations: str | None = None,
    images_folder: str | None = None,
    plots: str | Path | None = None,
) -> PixelEvaluation:
    """Score a segmenter on a COCO set with masks; arguments and errors as of `cotnet.detection.evaluate.validate`."""
    coco = open_source(
        model.card,
        data,
        annotations=annotations,
        images=images_folder,
        batch_size=batch_size or model.default_batch_size,
        num_workers=num_workers,
        skip_unreadable=sys.maxsize,
    )
    scores = evaluate(model.network, coco, size=model.size)
    scores.unreadable.extend(unusable(coco))
    if plots is not None and processes().is_rank_zero:
        folder = Path(plots)
        folder.mkdir(parents=True, exist_ok=True)
        scores.tally.draw(model.class_names, folder)
    return scores


def evaluate(network: nn.Module, data: CocoData, *, size: int) -> PixelEvaluation:
    """Score a segmenter on the validation images of a data module, over the processes that torchrun started.

    Args:
        network: In eval mode; its classes are the data's, after the background.
        data: Set up, with masks.
        size: Shorter side of the network's images, in pixels.
    """
    counted = _Counted(network, PixelTally(data.num_classes + 1), size)
    start = time.perf_counter()
    quiet_trainer().validate(counted, data, verbose=False)
    seconds = time.perf_counter() - start
    counts, images = counted.tally.counts, len(data.val_set)
    mean, each = mean_iou(counts)
    return PixelEvaluation(
        mean_iou=mean,
        per_class=each,
        pixels=float(counts.diagonal().sum() / counts.sum()),
        tally=counted.tally,
        images=images,
        images_per_s=images / seconds,
        class_names=[BACKGROUND, *data.class_names],
    )


class _Counted(LightningModule):
    def __init__(self, network: nn.Module, tally: PixelTally, size: int) -> None:
        super().__init__()
        self.network, self.tally, self.size = network, tally, size

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.tally.update(batch, segment(self.network, batch[0], self.size))

    def on_validation_epoch_end(self) -> None:
        self.tally.reduce()
