"""The figures of a detector on a set: precision over recall, the confusion of classes, the most frequent mistakes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from cotnet.detection.coco.annotations import CocoAnnotations
from cotnet.detection.coco.dataset import CocoDataset
from cotnet.detection.drawing import draw_samples
from cotnet.detection.scores import Precision, Result
from cotnet.files.figure import label_of, save_figure
from cotnet.training.figures import draw_confusion

_MAX_CURVES, _MAX_PAIRS = 10, 12


def draw_report(
    precision: Mapping[str, Precision],
    images: CocoDataset,
    results: Mapping[int, Sequence[Result]],
    folder: Path,
) -> None:
    """Draw precision over recall, the confusion of classes, the most frequent mistakes, and samples.

    Args:
        precision: By ``"box"`` and, of a detector with masks, ``"mask"``; masks are drawn where there are both.
        images: The images with their annotations.
        results: Entries of COCO's result format, by the image's id.
        folder: Gets ``precision_recall.png``, ``confusion.png``, ``confused.png`` and ``samples.jpg``.
    """
    names = images.annotations.class_names
    kind = "mask" if "mask" in precision else "box"
    draw_precision(precision[kind], names, folder / "precision_recall.png", kind=kind)
    counts = confusion_matrix(images.annotations, [result for entries in results.values() for result in entries])
    title = "objects by detection at score 0.5, overlap 0.5"
    draw_confusion(counts, [*names, "(background)"], folder / "confusion.png", title=title)
    draw_mistakes(counts, names, folder / "confused.png")
    draw_samples(images, results, folder / "samples.jpg")


def draw_precision(precision: Precision, class_names: Sequence[str], path: Path, *, kind: str = "box") -> None:
    """Draw precision over recall at overlap 0.50, of every class and of their mean.

    Of many classes the best and the worst are drawn.

    Args:
        precision: Its ``curves`` are drawn.
        class_names: Names of the classes.
        path: The PNG to write.
        kind: What was compared, ``"box"`` or ``"mask"``.
    """
    recall = np.linspace(0, 1, 101)
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    known = [k for k, value in enumerate(precision.per_class50) if value == value]
    known.sort(key=lambda k: -precision.per_class50[k])
    shown = known if len(known) <= _MAX_CURVES else [*known[: _MAX_CURVES // 2], *known[-_MAX_CURVES // 2 :]]
    for k in shown:
        axes.plot(
            recall,
            precision.curves[k],
            label=f"{label_of(class_names[k])} {precision.per_class50[k]:.1%}",
            linewidth=1.4,
        )
    if len(known) > 1:
        mean = np.nanmean(precision.curves[known], 0)
        axes.plot(recall, mean, color="black", linewidth=2, label=f"mean {precision.ap50:.1%}")
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.3)
    axes.set_title(f"{kind} precision at overlap 0.50")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, title="AP50")
    save_figure(figure, path)


def confusion_matrix(
    annotations: CocoAnnotations, results: Iterable[dict[str, Any]], *, score: float = 0.5, iou: float = 0.5
) -> np.ndarray:
    """Count objects by their true class and by the class of the detection that covers them.

    A detection is matched to the free object that it overlaps most, the surest detection first, whatever their classes.
    The background is the last class: its row holds detections where no object is, its column objects without a
    detection. Crowds do not count, nor do detections on a crowd.

    Args:
        annotations: The true objects.
        results: Entries of COCO's result format.
        score: Minimum score of a detection.
        iou: Minimum overlap of the boxes.

    Returns:
        Counts [classes + 1, classes + 1].
    """
    label = {category: index for index, category in enumerate(annotations.category_ids)}
    classes = len(label)
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    by_image: dict[int, list[dict[str, Any]]] = {image: [] for image in annotations.objects}
    for result in results:
        if result["score"] >= score and result["image_id"] in by_image:
            by_image[result["image_id"]].append(result)
    for image, objects in annotations.objects.items():
        single = [one for one in objects if not one.get("iscrowd", 0)]
        crowds = [one for one in objects if one.get("iscrowd", 0)]
        detections = sorted(by_image[image], key=lambda one: -one["score"])
        overlaps = box_iou(_corners(detections), _corners(single))
        on_crowd = _mostly_inside(_corners(detections), _corners(crowds))
        for detection, row, crowd in zip(detections, overlaps, on_crowd, strict=True):
            answer = label[detection["category_id"]]
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


def most_frequent_mistakes(counts: np.ndarray, limit: int = _MAX_PAIRS) -> list[tuple[int, int, int]]:
    """The most frequent triples of true class, other answer and count, missed and invented objects among them.

    Args:
        counts: Of `confusion_matrix`.
        limit: Maximum number of triples.
    """
    wrong = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(index), len(counts)) for index in order]
    return [(row, column, int(wrong[row, column])) for row, column in pairs if wrong[row, column]]


def draw_mistakes(counts: np.ndarray, class_names: Sequence[str], path: Path) -> None:
    """Draw the most frequent mistakes as bars.

    Args:
        counts: Of `confusion_matrix`.
        class_names: Names of the classes, without the background.
        path: The PNG to write.
    """
    mistakes = most_frequent_mistakes(counts)
    background = len(class_names)

    def label(row: int, column: int) -> str:
        if column == background:
            return f"{class_names[row]}: not found"
        if row == background:
            return f"{class_names[column]} where nothing is"
        return f"{class_names[row]}: {class_names[column]}"

    figure = Figure(figsize=(7, 1.2 + 0.32 * max(len(mistakes), 1)), layout="constrained")
    axes = figure.subplots()
    axes.set_title("most frequent mistakes, at score 0.5 and overlap 0.5")
    if mistakes:
        bars = axes.barh([label(row, column) for row, column, _ in mistakes], [count for *_, count in mistakes])
        axes.bar_label(bars, padding=3)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.text(0.5, 0.5, "none", ha="center", va="center")
        axes.set_axis_off()
    axes.set_xlabel("objects or detections")
    save_figure(figure, path)


def _corners(entries: Sequence[dict[str, Any]]) -> Tensor:
    boxes = torch.tensor([one["bbox"] for one in entries], dtype=torch.float32).reshape(-1, 4)
    return box_convert(boxes, "xywh", "xyxy")


def _mostly_inside(boxes: Tensor, crowds: Tensor) -> list[bool]:
    """Whether more than half of each box lies in one crowd."""
    if not len(crowds) or not len(boxes):
        return [False] * len(boxes)
    top_left = torch.max(boxes[:, None, :2], crowds[:, :2])
    bottom_right = torch.min(boxes[:, None, 2:], crowds[:, 2:])
    shared = (bottom_right - top_left).clamp(min=0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1, keepdim=True).clamp(min=1e-9)
    return (shared / area > 0.5).any(1).tolist()
