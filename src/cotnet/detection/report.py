"""The images that tell what a detector can do on a set."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cotnet.detection.coco.dataset import CocoDataset
from cotnet.detection.confusion import confusion, draw_pairs
from cotnet.detection.drawing import draw_samples
from cotnet.detection.plots import draw_precision
from cotnet.detection.scores import Precision, Result
from cotnet.training.figures import draw_confusion


def draw_report(
    precision: Mapping[str, Precision],
    images: CocoDataset,
    results: Mapping[int, Sequence[Result]],
    folder: Path,
) -> None:
    """Draw precision over recall, the confusion of classes, the most frequent mistakes, and samples.

    Args:
        precision: by `"box"` and perhaps `"mask"`; masks are drawn where there are both.
        images: with the truth.
        results: entries of COCO's result format, by the image's id.
        folder: gets `precision_recall.png`, `confusion.png`, `confused.png` and `samples.jpg`.
    """
    names = images.annotations.class_names
    kind = "mask" if "mask" in precision else "box"
    draw_precision(precision[kind], names, folder / "precision_recall.png", kind=kind)
    counts = confusion(images.annotations, [one for found in results.values() for one in found])
    title = "objects by detection at score 0.5, overlap 0.5"
    draw_confusion(counts, [*names, "(background)"], folder / "confusion.png", title=title)
    draw_pairs(counts, names, folder / "confused.png")
    draw_samples(images, results, folder / "samples.jpg")
