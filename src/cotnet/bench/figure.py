"""The figure of inference time against published accuracy: measured times on the left, the authors' on the right."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import Bbox

from cotnet.bench.peers import PUBLISHED, Peer
from cotnet.files.figure import save_figure

Point = tuple[Peer, float]  # with milliseconds per image

_FONT_SIZE = 7  # of the names, in points
# Where a name may stand: the offset of its anchor from the point, in points, and which corner of it is the anchor.
_SIDES = [(5, -3, "left", "top"), (5, 3, "left", "bottom"), (-5, 3, "right", "bottom"), (-5, -3, "right", "top")]
_SIDES += [(0, -7, "center", "top"), (0, 7, "center", "bottom"), (5, -12, "left", "top"), (5, 12, "left", "bottom")]

_TITLES = {
    "default": "about 100 epochs, one recipe for all",
    "advanced": "350 epochs, the peers by their own recipes",
}


def draw_times(best_ms: dict[tuple[str, int], float], path: Path, *, title: str) -> list[str]:
    """Write the figure as PNG.

    Args:
        best_ms: Milliseconds per image in the best mode, by network and image size.
        path: The PNG to write.
        title: How ``best_ms`` was measured.

    Returns:
        The measured networks that are missing from the figure, because no accuracy is published for them at that size.

    Raises:
        OSError: The figure cannot be written.
    """
    measured = [(peer, best_ms[peer.name, peer.size]) for peer in PUBLISHED if (peer.name, peer.size) in best_ms]
    published = [(peer, peer.ms) for peer in PUBLISHED if peer.ms is not None]
    families = list(dict.fromkeys(peer.family for peer in PUBLISHED))
    palette = colormaps["tab20"]
    colours = {family: palette(number) for number, family in enumerate(families)}
    figure = Figure(figsize=(15, 11), layout="constrained")
    figure.suptitle(f"Inference time and published ImageNet-1k top-1. Left: {title}. Right: the authors' GPU.")
    panels: list[tuple[Axes, list[Point]]] = []
    for axes, (setup, training) in zip(figure.subplots(2, 2), _TITLES.items(), strict=True):
        for panel, points, origin in zip(axes, (measured, published), ("this machine", "the authors"), strict=True):
            panels.append((panel, [point for point in points if point[0].setup == setup]))
            _scatter(*panels[-1], colours)
            panel.set_title(f"{origin}; {training}", fontsize=10)
    figure.draw_without_rendering()  # places everything
    for panel, points in panels:
        _name(panel, points)
    save_figure(figure, path)
    shown = {(peer.name, peer.size) for peer, _ in measured}
    return [f"{name} at {size}" for name, size in best_ms if (name, size) not in shown]


def _scatter(axes: Axes, points: Sequence[Point], colours: dict[str, tuple[float, float, float, float]]) -> None:
    by_family: dict[str, list[Point]] = {}
    for point in points:
        by_family.setdefault(point[0].family, []).append(point)
    for family, members in by_family.items():
        members = sorted(members, key=lambda point: point[1])
        marker, size = ("*", 13) if "CoTNe" in family else ("o", 6)
        axes.plot(
            [ms for _, ms in members],
            [peer.top1 for peer, _ in members],
            marker=marker,
            markersize=size,
            color=colours[family],
            label=family,
        )
    axes.set_xlabel("ms per image")
    axes.set_ylabel("top-1 in %, published")
    axes.grid(alpha=0.3)
    if points:
        axes.set_xscale("log")
        axes.margins(x=0.1, y=0.08)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g}"))
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    else:
        axes.text(0.5, 0.5, "nothing measured", ha="center", va="center", transform=axes.transAxes, color="grey")


def _name(axes: Axes, points: Sequence[Point]) -> None:
    """Write each network's name beside its point, on the side where it covers the fewest others."""
    pixels = axes.get_figure().dpi / 72  # type: ignore[union-attr]
    places = [axes.transData.transform((ms, peer.top1)) for peer, ms in points]
    taken = [Bbox.from_bounds(x - 4 * pixels, y - 4 * pixels, 8 * pixels, 8 * pixels) for x, y in places]

    def box(name: str, place: np.ndarray, side: tuple[int, int, str, str]) -> Bbox:
        width, height = 0.64 * _FONT_SIZE * len(name) * pixels, 1.4 * _FONT_SIZE * pixels
        dx, dy, across, down = side
        left = place[0] + dx * pixels - width * {"left": 0, "center": 0.5, "right": 1}[across]
        return Bbox.from_bounds(left, place[1] + dy * pixels - (height if down == "top" else 0), width, height)

    for (peer, ms), place in zip(points, places, strict=True):
        boxes = [box(peer.name, place, side) for side in _SIDES]
        crowded = [one.count_overlaps(taken) + 3 * (not _inside(one, axes.bbox)) for one in boxes]
        best = crowded.index(min(crowded))
        taken.append(boxes[best])
        dx, dy, across, down = _SIDES[best]
        axes.annotate(
            peer.name,
            (ms, peer.top1),
            xytext=(dx, dy),
            textcoords="offset points",
            ha=across,
            va=down,
            fontsize=_FONT_SIZE,
        )


def _inside(inner: Bbox, outer: Bbox) -> bool:
    return outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1
