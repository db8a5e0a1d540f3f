"""The figures of a run: learning curves, confusion matrix, range test."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cotnet.files.figure import label_of, save_figure
from cotnet.training.module import Panel

# Up to this many classes every row of the confusion matrix has its name, and up to the second its numbers.
_NAMED, _NUMBERED = 250, 25


def draw_curves(history: Sequence[dict[str, float]], panels: Sequence[Panel], path: Path) -> None:
    """Draw metrics and learning rate over the epochs.

    Args:
        history: One row per epoch, with the columns of ``metrics.csv``.
        panels: Title, factor, and label of each column, of every panel but the learning rate's.
        path: The PNG to write.
    """
    figure = Figure(figsize=(4 * (len(panels) + 1), 3.6), layout="constrained")
    every = figure.subplots(1, len(panels) + 1)
    epochs = [row["epoch"] for row in history]
    groups = (*panels, ("learning rate", 1.0, {"lr": "learning rate"}))
    for axes, (title, scale, columns) in zip(every, groups, strict=True):
        for column, label in columns.items():
            known = [(row["epoch"], scale * row[column]) for row in history if column in row]
            axes.plot(
                *np.array(known).reshape(-1, 2).T, marker="o" if len(known) < 20 else "", markersize=3, label=label
            )
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
    for axes in every[:-1]:  # below, where they cover no point
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3, fontsize=8, frameon=False)
    save_figure(figure, path)


def draw_confusion(counts: np.ndarray, class_names: Sequence[str], path: Path, *, title: str | None = None) -> None:
    """Draw the confusion matrix, each row in percent of its true class.

    Args:
        counts: Images by true class (rows) and answer (columns), [classes, classes].
        class_names: Names of the classes.
        path: The PNG to write.
        title: Over it; the accuracy by default.
    """
    classes = len(class_names)
    percent = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = float(np.clip(2.5 + 0.38 * classes, 5, 24))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, label="% of the true class")
    axes.set_xlabel("answer")
    axes.set_ylabel("true class")
    axes.set_title(title or f"validation: {np.trace(counts) / max(counts.sum(), 1):.2%} correct")
    if classes <= _NAMED:
        names = [label_of(name) for name in class_names]
        size = min(9, 45 * side / classes)  # in points, of the 72 that an inch of the side has
        axes.set_xticks(range(classes), names, rotation=90, fontsize=size)
        axes.set_yticks(range(classes), names, fontsize=size)
    else:
        axes.set_xlabel("answer (class number)")
        axes.set_ylabel("true class (number)")
    if classes <= _NUMBERED:
        for row, column in zip(*np.nonzero(counts), strict=True):
            value = percent[row, column]
            color = "white" if value > 55 else "black"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=color)
    save_figure(figure, path)


def draw_range_test(rates: Sequence[float], losses: Sequence[float], suggested: float | None, path: Path) -> None:
    """Draw the loss over growing learning rates, and the suggested one.

    Args:
        rates: Learning rates, rising.
        losses: The loss at each.
        suggested: The rate to mark, or None.
        path: The PNG to write.
    """
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses)
    if suggested is not None:
        axes.axvline(suggested, color="black", linestyle="--", linewidth=1, label=f"steepest at {suggested:.3g}")
        axes.legend()
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss, smoothed")
    best, first = min(losses), losses[0]
    axes.set_ylim(best - 0.05 * (first - best) - 0.01, first + 0.5 * (first - best) + 0.05)
    axes.grid(alpha=0.3)
    save_figure(figure, path)
