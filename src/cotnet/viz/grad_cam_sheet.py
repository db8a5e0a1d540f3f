"""The sheet of Grad-CAM: the places that speak for each of a few classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cotnet.viz.picture import Picture, save_sheet


def draw_grad_cam(
    picture: Picture, maps: Sequence[np.ndarray], titles: Sequence[str], path: Path, *, layer: str
) -> None:
    """Draw a picture and, beside it, its Grad-CAM maps.

    Args:
        picture: the picture.
        maps: of each class, [H', W'], at least 0.
        titles: of each class.
        path: the PNG to write.
        layer: where the maps were taken, for the heading.
    """
    height, width = picture.pixels.shape[:2]
    panel = 3.3
    figure = Figure(
        figsize=(panel * (len(maps) + 1) + 0.9, min(max(panel * height / width, 2.2), 7) + 1.1), layout="constrained"
    )
    figure.suptitle(f"Grad-CAM at {layer}: the places that speak for a class\n{picture.title}", fontsize=12)
    panels = figure.subplots(1, len(maps) + 1, squeeze=False)[0]
    picture.show(panels[0])
    panels[0].set_title("what the network sees", fontsize=10)
    for axes, heat, title in zip(panels[1:], maps, titles, strict=True):
        picture.show(axes, faded=0.3)
        peak = float(heat.max())
        image = axes.imshow(
            heat / peak if peak else heat,
            extent=(0, width, height, 0),
            cmap="inferno",
            alpha=0.6,
            vmin=0,
            vmax=1,
            interpolation="bilinear",
        )
        axes.set_title(title if peak else f"{title}\nno place speaks for it", fontsize=10)
    figure.colorbar(image, ax=panels, shrink=0.8, aspect=30, label="evidence, the strongest place = 1")
    save_sheet(figure, path)
