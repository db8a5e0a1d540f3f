"""Average precision of a trained detector, or IoU of a segmenter, over an annotated set."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from lightning.pytorch import LightningModule
from torch import Tensor, nn

from cotnet.detection.coco.module import CocoData
from cotnet.detection.scores import Precision, Result, average_precision, gather, to_results
from cotnet.prediction.trainer import quiet_trainer
from cotnet.segmentation.labels import PixelTally, mean_iou
from cotnet.segmentation.network import segment

Batch = tuple[list[Tensor], list[dict[str, Tensor]]]


@dataclass(frozen=True)
class Evaluation:
    """What a detector scored.

    Attributes:
        precision: by `"box"` and, of a detector with masks on a set with masks, `"mask"`.
        results: entries of COCO's result format.
        images: number of images.
        images_per_s: decoding, network and pasting of masks together.
    """

    precision: dict[str, Precision]
    results: list[Result]
    images: int
    images_per_s: float


def evaluate(network: nn.Module, data: CocoData, *, masks: bool) -> Evaluation:
    """Score a detector on the validation images of a data module, over the processes that torchrun started.

    Args:
        network: in eval mode; its labels are the data's classes.
        data: set up.
        masks: compare masks, too.
    """
    collected = _Collected(network, data.category_ids)
    start = time.perf_counter()
    quiet_trainer().validate(collected, data, verbose=False)
    seconds = time.perf_counter() - start
    by_image = gather(collected.results)
    results = [one for found in by_image.values() for one in found]
    assert data.val_set is not None
    annotations = data.val_set.annotations
    precision = {"box": average_precision(annotations, results)}
    if masks:
        precision["mask"] = average_precision(annotations, results, masks=True)
    return Evaluation(precision, results, len(by_image), len(by_image) / seconds)


@dataclass(frozen=True)
class PixelEvaluation:
    """What a segmenter scored, fractions of 1.

    Attributes:
        mean_iou: mean over the classes that occur, the background among them.
        per_class: IoU of the background and of each class; NaN where one occurs neither in truth nor answer.
        pixels: share of the pixels whose class is right.
        tally: what was counted.
        images: number of images.
        images_per_s: decoding and network together.
    """

    mean_iou: float
    per_class: list[float]
    pixels: float
    tally: PixelTally
    images: int
    images_per_s: float


def evaluate_pixels(network: nn.Module, data: CocoData, *, size: int) -> PixelEvaluation:
    """Score a segmenter on the validation images of a data module, over the processes that torchrun started.

    Args:
        network: in eval mode; its classes are the data's, after the background.
        data: set up, with masks.
        size: shorter side of the network's images, in pixels.
    """
    counted = _Counted(network, PixelTally(data.num_classes + 1), size)
    start = time.perf_counter()
    quiet_trainer().validate(counted, data, verbose=False)
    seconds = time.perf_counter() - start
    assert data.val_set is not None
    counts, images = counted.tally.counts, len(data.val_set)
    mean, each = mean_iou(counts)
    right = float(counts.diagonal().sum() / counts.sum())
    return PixelEvaluation(mean, each, right, counted.tally, images, images / seconds)


def collect(network: nn.Module, batch: Batch, category_ids: Sequence[int]) -> dict[int, list[Result]]:
    """What is found in the images of one batch, by their ids."""
    images, targets = batch
    ids = [int(target["image_id"]) for target in targets]
    found = zip(ids, network(images), strict=True)
    return {image: to_results(detections, image, category_ids) for image, detections in found}


class _Collected(LightningModule):
    def __init__(self, network: nn.Module, category_ids: list[int]) -> None:
        super().__init__()
        self.network, self.category_ids = network, category_ids
        self.results: dict[int, list[Result]] = {}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.results |= collect(self.network, batch, self.category_ids)


class _Counted(LightningModule):
    def __init__(self, network: nn.Module, tally: PixelTally, size: int) -> None:
        super().__init__()
        self.network, self.tally, self.size = network, tally, size

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.tally.update(batch, segment(self.network, batch[0], self.size))

    def on_validation_epoch_end(self) -> None:
        self.tally.reduce()
