"""An image as the network sees it, and what all sheets share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor


@dataclass(frozen=True)
class SourceImage:
    """An image for sheets.

    Attributes:
        name: for titles.
        pixels: what the network sees of it, [H, W, 3], 0..1.
    """

    name: str
    pixels: np.ndarray

    @classmethod
    def from_input(cls, name: str, x: Tensor, *, mean: Sequence[float], std: Sequence[float]) -> "SourceImage":
        """Undo the normalisation of an input [3, H, W]."""
        shown = x.detach().float().cpu() * torch.tensor(std).view(3, 1, 1) + torch.tensor(mean).view(3, 1, 1)
        return cls(name, shown.clamp(0, 1).permute(1, 2, 0).numpy())

    @property
    def title(self) -> str:
        """The name, cut in the middle where it is long."""
        return self.name if len(self.name) <= 48 else f"{self.name[:23]}…{self.name[-24:]}"

    def show(self, axes: Axes, *, faded: float = 0.0) -> None:
        """Draw the image without ticks; `faded` by that share towards white."""
        height, width = self.pixels.shape[:2]
        axes.imshow(self.pixels * (1 - faded) + faded, extent=(0, width, height, 0), interpolation="nearest")
        axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))


def short_name(layer: str) -> str:
    """A layer's name as a sheet shows it: in this package's networks the block says enough."""
    return layer.removesuffix(".mixer")


def save_sheet(figure: Figure, path: Path) -> None:
    """Write a sheet as PNG, under its name only when it is complete."""
    partial = path.with_name(path.name + ".partial")
    try:
        FigureCanvasAgg(figure).print_figure(partial, format="png", dpi=110)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
