"""Average precision of a trained detector over an annotated set."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from torch import nn

from cotnet.detection.coco.dataset import Batch
from cotnet.detection.coco.module import CocoData
from cotnet.detection.coco.source import open_source
from cotnet.detection.figures import draw_report
from cotnet.detection.networks import detection_limits
from cotnet.detection.predict import DetectionModel
from cotnet.detection.scores import Precision, Result, average_precision, gather, to_results
from cotnet.prediction.formatting import distinct, percent, plain
from cotnet.prediction.processes import processes
from cotnet.prediction.trainer import quiet_trainer

_COCO_LIMIT = 100  # detections of an image that average precision counts


@dataclass(frozen=True)
class Evaluation:
    """What a detector scored; as text, it is the table of `cotnet validate`.

    Attributes:
        precision: By ``"box"`` and, of a detector with masks on a set with masks, ``"mask"``.
        results: Entries of COCO's result format.
        images: Number of images.
        images_per_s: Images per second: decoding, network and pasting of masks together.
        class_names: Names of the classes.
        unreadable: A sentence for each image that could not be read and is not counted.
        notes: What else is worth knowing of the data.
    """

    precision: dict[str, Precision]
    results: list[Result]
    images: int
    images_per_s: float
    class_names: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_plain(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        content: dict[str, Any] = {"images": self.images, "images_per_s": self.images_per_s}
        for kind, one in self.precision.items():
            entry: dict[str, Any] = {key: plain(value) for key, value in vars(one).items() if isinstance(value, float)}
            for key in ("per_class", "per_class50"):
                values = zip(distinct(self.class_names), getattr(one, key), strict=True)
                entry[key] = {name: plain(value) for name, value in values}
            content[kind] = entry
        return content

    def __str__(self) -> str:
        width = max(map(len, self.class_names), default=0)
        lines = []
        for kind, one in self.precision.items():
            lines += [f"{'':{width}}  {kind + ' AP':>8}    AP50"]
            for name, ap, ap50 in zip(self.class_names, one.per_class, one.per_class50, strict=True):
                lines.append(f"{name:{width}}  {percent(ap):>8}  {percent(ap50):>6}")
            lines += [
                "",
                f"{kind} AP {percent(one.ap)}  AP50 {percent(one.ap50)}  AP75 {percent(one.ap75)}  "
                f"small {percent(one.small)}  medium {percent(one.medium)}  large {percent(one.large)}  "
                f"recall {percent(one.recall)}",
                "",
            ]
        lines.append(f"{self.images} images  {self.images_per_s:.1f} images/s")
        return "\n".join(lines)


def validate(
    model: DetectionModel,
    data: str | None = None,
    *,
    batch_size: int | None = None,
    num_workers: int = 0,
    annotations: str | None = None,
    images_folder: str | None = None,
    plots: str | Path | None = None,
) -> Evaluation:
    """Score a detector on a COCO set, over the processes that torchrun started.

    Args:
        model: The detector.
        data: A folder or a zip archive; by default the set that the weights record.
        batch_size: Images at a time; default 4.
        num_workers: Processes that decode.
        annotations: Name of the annotation file in the set.
        images_folder: Name of the folder of images in the set.
        plots: Folder to draw precision over recall, confused classes and samples in.

    Raises:
        ValueError: The data cannot be used, or has other classes.
    """
    coco = open_source(
        model.card,
        data,
        annotations=annotations,
        images=images_folder,
        batch_size=batch_size or model.default_batch_size,
        num_workers=num_workers,
        skip_unreadable=sys.maxsize,
    )
    network: Any = model.network
    scores = evaluate(network, coco, masks=coco.masks and network.roi_heads.has_mask())
    scores.unreadable.extend(unusable(coco))
    if note := _crowded(coco, detection_limits(network)[0]):
        scores.notes.append(note)
    if plots is not None and processes().is_rank_zero:
        folder = Path(plots)
        folder.mkdir(parents=True, exist_ok=True)
        by_image: dict[int, list[Result]] = {image["id"]: [] for image in coco.val_set.annotations.images}
        for one in scores.results:
            by_image[one["image_id"]].append(one)
        draw_report(scores.precision, coco.val_set, by_image, folder)
    return scores


def unusable(data: CocoData) -> list[str]:
    """A sentence for each image of a set that was skipped."""
    return [f"the image {name} cannot be used and is not counted" for name in data.skipped()]


def _crowded(data: CocoData, limit: int) -> str | None:
    """A note where images have more objects than the detector gives, or than COCO's precision counts."""
    counts = [len(objects) for objects in data.val_set.annotations.objects.values()]
    above = sum(count > min(limit, _COCO_LIMIT) for count in counts)
    if not above:
        return None
    return (
        f"{above} of {len(counts)} images have up to {max(counts)} objects, the detector gives {limit} at most, and "
        f"COCO's average precision counts {_COCO_LIMIT}; --box-detections-per-img changes the first"
    )


def evaluate(network: nn.Module, data: CocoData, *, masks: bool) -> Evaluation:
    """Score a detector on the validation images of a data module, over the processes that torchrun started.

    Args:
        network: In eval mode; its labels are the data's classes.
        data: Set up.
        masks: Compare masks, too.
    """
    collected = _Collected(network, data.category_ids)
    start = time.perf_counter()
    quiet_trainer().validate(collected, data, verbose=False)
    seconds = time.perf_counter() - start
    by_image = gather(collected.results)
    results = [one for found in by_image.values() for one in found]
    annotations = data.val_set.annotations
    precision = {"box": average_precision(annotations, results)}
    if masks:
        precision["mask"] = average_precision(annotations, results, masks=True)
    return Evaluation(precision, results, len(by_image), len(by_image) / seconds, data.class_names)


def collect(network: nn.Module, batch: Batch, category_ids: Sequence[int]) -> dict[int, list[Result]]:
    """Detections in the images of one batch as entries of COCO's result format, by the images' ids."""
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
