"""The sheet of Grad-CAM: where the evidence for each of a few classes lies."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cotnet.files.figure import save_figure
from cotnet.viz.source_image import SourceImage


def draw_grad_cam(
    image: SourceImage, maps: Sequence[np.ndarray], titles: Sequence[str], path: Path, *, layer: str
) -> None:
    """Draw an image and, beside it, its Grad-CAM maps.

    Args:
        image: The image.
        maps: A map for each class, ``[H', W']``, at least 0.
        titles: A title for each class.
        path: The PNG to write.
        layer: Where the maps were taken, for the title of the sheet.
    """
    height, width = image.pixels.shape[:2]
    panel = 3.3
    figure = Figure(
        figsize=(panel * (len(maps) + 1) + 0.9, min(max(panel * height / width, 2.2), 7) + 1.1), layout="constrained"
    )
    figure.suptitle(f"Grad-CAM at {layer}: the evidence for a class\n{image.title}", fontsize=12)
    panels = figure.subplots(1, len(maps) + 1, squeeze=False)[0]
    image.show(panels[0])
    panels[0].set_title("what the network sees", fontsize=10)
    for axes, heat, title in zip(panels[1:], maps, titles, strict=True):
        image.show(axes, faded=0.3)
        peak = float(heat.max())
        heatmap = axes.imshow(
            heat / peak if peak else heat,
            extent=(0, width, height, 0),
            cmap="inferno",
            alpha=0.6,
            vmin=0,
            vmax=1,
            interpolation="bilinear",
        )
        axes.set_title(title if peak else f"{title}\nno evidence for it", fontsize=10)
    figure.colorbar(heatmap, ax=panels, shrink=0.8, aspect=30, label="evidence (1: the strongest place)")
    save_figure(figure, path)
