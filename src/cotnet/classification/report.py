"""A classifier's part of ``report.md``: its classes, and the pairs that it confuses most."""

from collections.abc import Sequence

import numpy as np

from cotnet.classification.figures import worst_pairs
from cotnet.training.report import table


def class_sections(counts: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Two sections of Markdown, as lines.

    Args:
        counts: Images by true class (rows) and answer (columns) in the best epoch, [classes, classes].
        class_names: Names of the classes.
    """
    classes = ["## Classes", "", "Of the best epoch.", "", *_classes(counts, class_names), ""]
    return [*classes, "## Most confused", "", *_pairs(counts, class_names), ""]


def _classes(counts: np.ndarray, names: Sequence[str]) -> list[str]:
    rows = []
    for label, name in enumerate(names):
        total, right = int(counts[label].sum()), int(counts[label, label])
        wrong = counts[label].copy()
        wrong[label] = 0
        taken_for = f"{names[int(wrong.argmax())]} ({int(wrong.max())})" if wrong.any() else ""
        rows.append([name, str(total), f"{right / total:.1%}" if total else "", taken_for])
    return table(("class", "images", "correct", "most often taken for"), rows)


def _pairs(counts: np.ndarray, names: Sequence[str]) -> list[str]:
    pairs = worst_pairs(counts)
    if not pairs:
        return ["No image is confused."]
    rows = [[names[true], names[answer], str(n), f"{n / counts[true].sum():.1%}"] for true, answer, n in pairs]
    return table(("true class", "answer", "images", "of the class"), rows)
