"""Which classes a detector takes for which."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from cotnet.detection.coco.dataset import CocoAnnotations
from cotnet.training.figures import save

_PAIRS = 12


def confusion(
    annotations: CocoAnnotations, results: Iterable[dict[str, Any]], *, score: float = 0.5, iou: float = 0.5
) -> np.ndarray:
    """Objects by true class and by the class of the detection that covers them; the background is the last of both.

    A detection takes the free object that it overlaps most, the surest detection first, whatever their classes. In the
    last row are detections of nothing, in the last column objects that were not found. Crowds do not count, nor what
    lies on one.

    Args:
        annotations: the truth.
        results: entries of COCO's result format.
        score: the least that counts as a detection.
        iou: the least overlap of the boxes.

    Returns:
        Counts [classes + 1, classes + 1].
    """
    label = {category: index for index, category in enumerate(annotations.category_ids)}
    classes = len(label)
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    found: dict[int, list[dict[str, Any]]] = {image: [] for image in annotations.objects}
    for one in results:
        if one["score"] >= score and one["image_id"] in found:
            found[one["image_id"]].append(one)
    for image, objects in annotations.objects.items():
        single = [one for one in objects if not one.get("iscrowd", 0)]
        crowds = [one for one in objects if one.get("iscrowd", 0)]
        detections = sorted(found[image], key=lambda one: -one["score"])
        overlaps = box_iou(_boxes(detections), _boxes(single))
        on_crowd = _inside(_boxes(detections), _boxes(crowds))
        for one, row, crowd in zip(detections, overlaps, on_crowd, strict=True):
            answer = label[one["category_id"]]
            best = int(row.argmax()) if len(row) else -1
            if best >= 0 and row[best] >= iou:
                counts[label[single[best]["category_id"]], answer] += 1
                overlaps[:, best] = -1
            elif not crowd:
                counts[classes, answer] += 1
        for index, one in enumerate(single):
            if not len(overlaps) or overlaps[0, index] >= 0:
                counts[label[one["category_id"]], classes] += 1
    return counts


def most_confused(counts: np.ndarray, limit: int = _PAIRS) -> list[tuple[int, int, int]]:
    """The pairs of true class, other answer and count that are most frequent, misses and detections of nothing too."""
    wrong = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(index), len(counts)) for index in order]
    return [(row, column, int(wrong[row, column])) for row, column in pairs if wrong[row, column]]


def draw_pairs(counts: np.ndarray, class_names: Sequence[str], path: Path) -> None:
    """The most confused pairs as bars.

    Args:
        counts: of `confusion`.
        class_names: without the background.
        path: the PNG to write.
    """
    pairs = most_confused(counts)
    names = [*class_names, ""]

    def says(row: int, column: int) -> str:
        if column == len(class_names):
            return f"{names[row]}: not found"
        return f"{names[column]} where nothing is" if row == len(class_names) else f"{names[row]}: {names[column]}"

    figure = Figure(figsize=(7, 1.2 + 0.32 * max(len(pairs), 1)), layout="constrained")
    axes = figure.subplots()
    axes.set_title("most frequent mistakes, at score 0.5 and overlap 0.5")
    if pairs:
        bars = axes.barh([says(row, column) for row, column, _ in pairs], [count for *_, count in pairs])
        axes.bar_label(bars, padding=3)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.text(0.5, 0.5, "none", ha="center", va="center")
        axes.set_axis_off()
    axes.set_xlabel("objects or detections")
    save(figure, path)


def _boxes(entries: Sequence[dict[str, Any]]) -> Tensor:
    boxes = torch.tensor([one["bbox"] for one in entries], dtype=torch.float32).reshape(-1, 4)
    return box_convert(boxes, "xywh", "xyxy")


def _inside(boxes: Tensor, crowds: Tensor) -> list[bool]:
    """Whether more than half of each box lies in one crowd."""
    if not len(crowds) or not len(boxes):
        return [False] * len(boxes)
    corner, other = torch.max(boxes[:, None, :2], crowds[:, :2]), torch.min(boxes[:, None, 2:], crowds[:, 2:])
    shared = (other - corner).clamp(min=0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1, keepdim=True).clamp(min=1e-9)
    return (shared / area > 0.5).any(1).tolist()
