"""Inference time against published accuracy: measured here, and beside it what the authors published."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cotnet.inference.bench.peers import PUBLISHED, Peer

Point = tuple[Peer, float]  # with milliseconds for a picture

_TITLES = {
    "default": "about 100 epochs, all trained alike",
    "advanced": "350 epochs, the peers by their own recipes",
}


def draw_times(best_ms: dict[tuple[str, int], float], path: Path, *, title: str) -> list[str]:
    """Write the figure as PNG.

    Args:
        best_ms: milliseconds for a picture in the best mode, by network and picture size.
        path: where to.
        title: how `best_ms` was measured.

    Returns:
        The measured networks that are not in the figure, because no accuracy is published for them at that size.
    """
    measured = [(peer, best_ms[peer.name, peer.size]) for peer in PUBLISHED if (peer.name, peer.size) in best_ms]
    published = [(peer, peer.ms) for peer in PUBLISHED if peer.ms is not None]
    families = list(dict.fromkeys(peer.family for peer in PUBLISHED))
    palette = colormaps["tab20"]
    colours = {family: palette(number) for number, family in enumerate(families)}
    figure = Figure(figsize=(15, 11), layout="constrained")
    figure.suptitle(f"Inference time and published ImageNet-1k top-1. Left: {title}. Right: the authors' GPU.")
    for axes, (setup, said) in zip(figure.subplots(2, 2), _TITLES.items(), strict=True):
        for panel, points, whose in zip(axes, (measured, published), ("this machine", "the authors"), strict=True):
            _scatter(panel, [point for point in points if point[0].setup == setup], colours)
            panel.set_title(f"{whose}; {said}", fontsize=10)
    FigureCanvasAgg(figure).print_figure(path, format="png", dpi=110)
    shown = {(peer.name, peer.size) for peer, _ in measured}
    return [f"{name} at {size}" for name, size in best_ms if (name, size) not in shown]


def _scatter(axes: Axes, points: Sequence[Point], colours: dict[str, tuple[float, float, float, float]]) -> None:
    by_family: dict[str, list[Point]] = {}
    for point in points:
        by_family.setdefault(point[0].family, []).append(point)
    for family, own in by_family.items():
        own = sorted(own, key=lambda point: point[1])
        marker, size = ("*", 13) if "CoTNe" in family else ("o", 6)
        axes.plot(
            [ms for _, ms in own],
            [peer.top1 for peer, _ in own],
            marker=marker,
            markersize=size,
            color=colours[family],
            label=family,
        )
        for peer, ms in own:
            axes.annotate(peer.name, (ms, peer.top1), xytext=(4, -9), textcoords="offset points", fontsize=6)
    axes.set_xlabel("ms per image")
    axes.set_ylabel("top-1 in %, published")
    axes.grid(alpha=0.3)
    if points:
        axes.set_xscale("log")
        axes.legend(fontsize=7)
    else:
        axes.text(0.5, 0.5, "nothing measured", ha="center", va="center", transform=axes.transAxes, color="grey")
