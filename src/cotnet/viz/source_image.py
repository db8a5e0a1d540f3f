"""An image as the network sees it, to be drawn under what the network makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

_TITLE_LENGTH = 48


@dataclass(frozen=True)
class SourceImage:
    """An image for sheets.

    Attributes:
        name: The image's name, for titles.
        pixels: What the network sees of it, ``[H, W, 3]`` in 0 to 1.
    """

    name: str
    pixels: np.ndarray

    @classmethod
    def from_input(cls, name: str, x: Tensor, *, mean: Sequence[float], std: Sequence[float]) -> "SourceImage":
        """Undo the normalisation of a network's input.

        Args:
            name: The image's name.
            x: The input, ``[3, H, W]``.
            mean: Mean of each channel that was subtracted.
            std: Standard deviation of each channel that the input was divided by.
        """
        pixels = x.detach().float().cpu() * torch.tensor(std).view(3, 1, 1) + torch.tensor(mean).view(3, 1, 1)
        return cls(name, pixels.clamp(0, 1).permute(1, 2, 0).numpy())

    @property
    def title(self) -> str:
        """The name, with its middle left out where it is long."""
        if len(self.name) <= _TITLE_LENGTH:
            return self.name
        return f"{self.name[: _TITLE_LENGTH // 2 - 1]}…{self.name[-_TITLE_LENGTH // 2 :]}"

    def show(self, axes: Axes, *, faded: float = 0.0) -> None:
        """Draw the image without ticks.

        Args:
            axes: Where to draw it.
            faded: How far towards white, from 0 to 1.
        """
        height, width = self.pixels.shape[:2]
        axes.imshow(self.pixels * (1 - faded) + faded, extent=(0, width, height, 0), interpolation="nearest")
        axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
