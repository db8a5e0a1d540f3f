"""Precision over recall, as an image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cotnet.detection.scores import Precision
from cotnet.training.figures import save

# Of more classes than this the best and the worst are drawn.
_CLASSES = 10


def draw_precision(precision: Precision, class_names: Sequence[str], path: Path, *, kind: str = "box") -> None:
    """Precision over recall at overlap 0.50, of every class and of their mean.

    Args:
        precision: its `curves` are drawn.
        class_names: names of the classes.
        path: the PNG to write.
        kind: what was compared, `"box"` or `"mask"`.
    """
    recall = np.linspace(0, 1, 101)
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    known = [k for k, value in enumerate(precision.per_class50) if value == value]
    known.sort(key=lambda k: -precision.per_class50[k])
    shown = known if len(known) <= _CLASSES else [*known[: _CLASSES // 2], *known[-_CLASSES // 2 :]]
    for k in shown:
        axes.plot(recall, precision.curves[k], label=f"{class_names[k]} {precision.per_class50[k]:.1%}", linewidth=1.4)
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
    save(figure, path)
