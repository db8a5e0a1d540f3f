"""The pairs of classes that a classifier confuses most, as bars."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cotnet.files.figure import label_of, save_figure


def worst_pairs(counts: np.ndarray, limit: int = 15) -> list[tuple[int, int, int]]:
    """The most frequent confusions as (true class, answer, images), the worst first.

    Args:
        counts: Images by true class (rows) and answer (columns), [classes, classes].
        limit: The largest number of pairs.
    """
    wrong = counts * ~np.eye(len(counts), dtype=bool)
    rows, columns = np.nonzero(wrong)
    # By share of the true class where the numbers are equal, then by class.
    order = np.lexsort((columns, rows, -wrong[rows, columns] / counts.sum(1)[rows], -wrong[rows, columns]))[:limit]
    return [(int(rows[i]), int(columns[i]), int(wrong[rows[i], columns[i]])) for i in order]


def draw_confused(counts: np.ndarray, class_names: Sequence[str], path: Path) -> None:
    """Draw the pairs of classes that are confused most.

    Args:
        counts: Images by true class (rows) and answer (columns), [classes, classes].
        class_names: Names of the classes.
        path: The PNG to write.
    """
    pairs = worst_pairs(counts)
    figure = Figure(figsize=(9, 1.3 + 0.34 * max(len(pairs), 2)), layout="constrained")
    axes = figure.subplots()
    axes.set_title("most confused: true class → answer")
    axes.set_xlabel("images")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    labels = [f"{label_of(class_names[true])} → {label_of(class_names[answer])}" for true, answer, _ in pairs]
    values = [number for _, _, number in pairs]
    bars = axes.barh(range(len(pairs)), values, color="#c44e52")
    shares = [f" {number} ({number / counts[true].sum():.0%} of the class)" for true, _, number in pairs]
    axes.bar_label(bars, shares, fontsize=8)
    axes.set_yticks(range(len(pairs)), labels, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.35 * max(values, default=1))
    if not pairs:
        axes.text(0.5, 0.5, "no image is confused", ha="center", va="center", transform=axes.transAxes)
    save_figure(figure, path)
