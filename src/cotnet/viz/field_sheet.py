"""The sheet of one layer's weight field: kernels, where they look, and how widely, head by head."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from cotnet.files.figure import save_figure
from cotnet.viz.source_image import SourceImage
from cotnet.viz.weight_field import WeightField, entropy, mean_offset, short_name

_KERNELS = 8  # along each side of the mosaic; more would be too small to see
_ARROWS = 14


def draw_fields(field: WeightField, image: SourceImage, heads: Sequence[int], path: Path, *, answer: str = "") -> None:
    """Draw some heads of a field, a row for each.

    On the left the kernels of evenly spaced positions; in the middle arrows from positions to where they look on
    average; on the right whether they look at one cell or at all cells alike.

    Args:
        field: The field of one layer; its first image is drawn.
        image: That image.
        heads: The numbers of the heads, from 0.
        path: The PNG to write.
        answer: What the network predicts, for the title.

    Raises:
        ValueError: The layer has no such head.
    """
    check_heads(field, heads)
    weight = field.weight[0, list(heads)]
    side, (height, width) = field.kernel_size, weight.shape[2:]
    spread = entropy(weight).numpy()
    offsets = mean_offset(weight, dilation=field.dilation).numpy()

    shape = image.pixels.shape
    row_height = min(max(3.0 * shape[0] / shape[1], 2.2), 5.0)
    figure = Figure(figsize=(13.5, 1.3 + (row_height + 0.35) * len(heads)), layout="constrained")
    window = f"{side}x{side} window" + (f", dilation {field.dilation}" if field.dilation > 1 else "")
    title = f"Weight field of {short_name(field.layer)} ({field.stage}): {window} at each of {height}x{width} positions"
    figure.suptitle(f"{title}\n{image.title}{f', {answer}' if answer else ''}", fontsize=12)
    panels = figure.subplots(len(heads), 3, squeeze=False)
    span = float(np.quantile(weight.abs().numpy(), 0.99)) or 1.0
    low, high = float(spread.min()), float(spread.max())
    longest = float(np.quantile(np.hypot(offsets[:, 0], offsets[:, 1]), 0.98)) or 1.0
    for row, head in enumerate(heads):
        kernels = _mosaic(panels[row, 0], weight[row].numpy(), side, span)
        _arrows(panels[row, 1], image, offsets[row], longest)
        image.show(panels[row, 2], faded=0.3)
        heat = panels[row, 2].imshow(
            spread[row], extent=(0, shape[1], shape[0], 0), cmap="viridis", alpha=0.75, vmin=low, vmax=max(high, 1e-9)
        )
        filtered = field.channels_of(head)
        first = ", ".join(map(str, filtered[:3])) + (", …" if len(filtered) > 3 else "")
        panels[row, 0].set_ylabel(f"head {head} of {field.heads}\nfilters channels {first}", fontsize=10)
    panels[0, 0].set_title("kernels of some positions, by row and column", fontsize=10)
    panels[0, 1].set_title(f"where a position looks on average\n(longest arrow: {longest:.2g} cells)", fontsize=10)
    panels[0, 2].set_title("how widely it looks: entropy", fontsize=10)
    figure.colorbar(kernels, ax=panels[:, 0], shrink=0.8, aspect=40, extend="both", label="weight of a cell")
    figure.colorbar(heat, ax=panels[:, 2], shrink=0.8, aspect=40, label="0: one cell … 1: all cells alike")
    save_figure(figure, path)


def check_heads(field: WeightField, heads: Sequence[int]) -> None:
    """Make sure that a layer has the heads.

    Raises:
        ValueError: It does not.
    """
    for head in heads:
        if not 0 <= head < field.heads:
            raise ValueError(f"{short_name(field.layer)} has heads 0 to {field.heads - 1}, got {head}")


def _mosaic(axes: Axes, weight: np.ndarray, side: int, span: float) -> AxesImage:
    """Draw the kernels ``[T, H, W]`` of up to 8 x 8 positions as tiles, each at the place of its position."""
    rows, columns = (_evenly(size, _KERNELS) for size in weight.shape[1:])
    tiles = np.full((len(rows) * (side + 1) - 1, len(columns) * (side + 1) - 1), np.nan)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            top, left = i * (side + 1), j * (side + 1)
            tiles[top : top + side, left : left + side] = weight[:, row, column].reshape(side, side)
    image = axes.imshow(tiles, cmap="RdBu_r", vmin=-span, vmax=span, interpolation="nearest")
    middle = (side - 1) / 2
    axes.set_xticks([j * (side + 1) + middle for j in range(len(columns))], [str(c) for c in columns], fontsize=7)
    axes.set_yticks([i * (side + 1) + middle for i in range(len(rows))], [str(r) for r in rows], fontsize=7)
    axes.tick_params(length=0)
    axes.set_facecolor("0.85")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image


def _arrows(axes: Axes, image: SourceImage, offset: np.ndarray, longest: float) -> None:
    """Draw mean offsets ``[2, H, W]`` as arrows; one of length ``longest`` is as long as a step of the arrows' grid."""
    image.show(axes, faded=0.55)
    rows, columns = (_evenly(size, _ARROWS) for size in offset.shape[1:])
    height, width = image.pixels.shape[:2]
    x, y = np.meshgrid((columns + 0.5) * width / offset.shape[2], (rows + 0.5) * height / offset.shape[1])
    down, right = offset[:, rows][:, :, columns]
    step = min(width / len(columns), height / len(rows))
    axes.quiver(x, y, right, down, angles="xy", scale_units="xy", scale=longest / step, width=0.006, color="#b30000")


def _evenly(size: int, count: int) -> np.ndarray:
    """At most ``count`` whole numbers below ``size``, evenly spaced."""
    return np.unique(np.linspace(0, size - 1, min(size, count)).round().astype(int))
