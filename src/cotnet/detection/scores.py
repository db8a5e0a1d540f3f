"""Detections as entries of COCO's result format, gathered over ranks, and their average precision."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.distributed
from faster_coco_eval import COCO, COCOeval_faster
from torch import Tensor

from cotnet.detection.coco.annotations import CocoAnnotations
from cotnet.detection.coco.masks import encode_mask

Result = dict[str, Any]


@dataclass(frozen=True)
class Precision:
    """Average precision of boxes or of masks, fractions of 1; NaN where there are no objects to find.

    Attributes:
        ap: Mean over overlaps from 0.50 to 0.95 and over the classes.
        ap50: The same at an overlap of 0.50.
        ap75: The same at an overlap of 0.75.
        small: ``ap`` of objects below 32 x 32 pixels.
        medium: ``ap`` of objects from 32 x 32 to 96 x 96 pixels.
        large: ``ap`` of objects above 96 x 96 pixels.
        recall: Average recall with 100 detections an image.
        per_class: ``ap`` of each class.
        per_class50: ``ap50`` of each class.
        curves: Precision [classes, 101] at overlap 0.50, at recalls 0.00 to 1.00.
    """

    ap: float
    ap50: float
    ap75: float
    small: float
    medium: float
    large: float
    recall: float
    per_class: list[float]
    per_class50: list[float]
    curves: np.ndarray


def to_results(detections: dict[str, Tensor], image_id: int, category_ids: Sequence[int]) -> list[Result]:
    """The detections of one image as entries of COCO's result format.

    Args:
        detections: ``boxes`` [M, 4] as x1, y1, x2, y2; ``labels`` [M] from 1; ``scores`` [M]; of a detector with masks
            ``masks`` [M, 1, H, W] of probabilities.
        image_id: The image's id.
        category_ids: The id of each class.
    """
    boxes = detections["boxes"].detach().cpu().double()
    boxes[:, 2:] -= boxes[:, :2]
    results: list[Result] = []
    for box, label, score in zip(
        boxes.tolist(), detections["labels"].tolist(), detections["scores"].tolist(), strict=True
    ):
        category = category_ids[label - 1]
        results.append({"image_id": image_id, "category_id": category, "bbox": box, "score": score})
    if "masks" in detections:
        for result, mask in zip(results, (detections["masks"][:, 0] > 0.5).to("cpu").numpy(), strict=True):
            result["segmentation"] = encode_mask(mask)
    return results


def gather(results: dict[int, list[Result]]) -> dict[int, list[Result]]:
    """The results of all ranks by image, each image once, on every rank.

    Args:
        results: This rank's entries of COCO's result format, by the image's id.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return results
    parts: list[dict[int, list[Result]]] = [{} for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(parts, results)
    return {image_id: entries for part in parts for image_id, entries in part.items()}


def average_precision(annotations: CocoAnnotations, results: Iterable[Result], *, masks: bool = False) -> Precision:
    """Score boxes or masks against annotations, by faster-coco-eval.

    Args:
        annotations: The true objects, crowds included.
        results: Entries of COCO's result format.
        masks: Compare masks instead of boxes.
    """
    truth = _truth(annotations, masks)
    found = [dict(result) for result in results]
    if not masks:
        for result in found:
            result.pop("segmentation", None)
    classes = len(annotations.class_names)
    if not found:
        nothing = [0.0 if _has_objects(annotations, one) else float("nan") for one in annotations.category_ids]
        return Precision(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, nothing, nothing, np.zeros((classes, 101)))
    run = COCOeval_faster(truth, truth.loadRes(found), "segm" if masks else "bbox", print_function=lambda *_: None)
    run.evaluate()
    run.accumulate()
    run.summarize()
    # [overlaps, recalls, classes, areas, detections an image]; -1 marks what has no objects.
    precision = np.asarray(run.eval["precision"])
    all_areas = precision[:, :, :, 0, -1]
    stats = [float(value) if value > -1 else float("nan") for value in run.stats]
    return Precision(
        ap=stats[0],
        ap50=stats[1],
        ap75=stats[2],
        small=stats[3],
        medium=stats[4],
        large=stats[5],
        recall=stats[8],
        per_class=[_mean(all_areas[:, :, k]) for k in range(classes)],
        per_class50=[_mean(all_areas[0, :, k]) for k in range(classes)],
        curves=np.where(all_areas[0] > -1, all_areas[0], np.nan).T,
    )


def _truth(annotations: CocoAnnotations, masks: bool) -> COCO:
    entries: list[dict[str, Any]] = []
    for image in annotations.images:
        for one in annotations.objects[image["id"]]:
            entry = {"iscrowd": 0, "area": one["bbox"][2] * one["bbox"][3], **one, "id": len(entries) + 1}
            if not masks:
                entry.pop("segmentation", None)
            entries.append(entry)
    categories = [
        {"id": category, "name": name}
        for category, name in zip(annotations.category_ids, annotations.class_names, strict=True)
    ]
    content = {"images": annotations.images, "annotations": entries, "categories": categories}
    return COCO(content, print_function=lambda *_: None)


def _has_objects(annotations: CocoAnnotations, category: int) -> bool:
    return any(
        one["category_id"] == category and not one.get("iscrowd", 0)
        for objects in annotations.objects.values()
        for one in objects
    )


def _mean(precision: np.ndarray) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")
