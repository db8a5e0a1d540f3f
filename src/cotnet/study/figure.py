"""Accuracy over parameters, multiply-accumulates and time, ours above and the authors' below."""

from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cotnet.files.figure import label_of, save_figure
from cotnet.study.results import Result

Point = tuple[str, float | None, float, float]  # label, abscissa, top-1, its standard deviation

_AXES = ("parameters (M)", "multiply-accumulates (G)", "time (ms per image)")


def draw_study(title: str, results: list[Result], path: Path, *, data: str) -> None:
    """Write the figure as PNG.

    Args:
        title: The heading.
        results: A point each, with the standard deviation over its seeds.
        path: The PNG to write.
        data: What the cases were trained on, for the upper row's label.
    """
    palette = colormaps["tab10"]
    colours = {result.case.label: palette(number % 10) for number, result in enumerate(results)}
    published = [(result.case.label, result.case.published) for result in results if result.case.published]
    rows = 2 if published else 1
    figure = Figure(figsize=(15, 4.6 * rows), layout="constrained")
    figure.suptitle(f"{title}; bars: standard deviation over the seeds")
    panels = figure.subplots(rows, 3, squeeze=False)
    abscissae = ("parameters", "macs", "time")
    small = max(result.macs for result in results) < 1e8
    labels = (_AXES[0], "multiply-accumulates (M)" if small else _AXES[1], _AXES[2])
    for axes, what, label in zip(panels[0], abscissae, labels, strict=True):
        points: list[Point] = [
            (result.case.label, _ours(result, what, small=small), result.mean, result.spread) for result in results
        ]
        _scatter(axes, points, colours, label, f"top-1 in %, {data}")
    for axes, what, label in zip(panels[1] if published else [], abscissae, _AXES, strict=False):
        theirs: list[Point] = []
        for name, known in published:
            assert known is not None
            time_ms = 1000 / known.images_per_s if known.images_per_s else None
            abscissa = {"parameters": known.parameters_m, "macs": known.gmacs, "time": time_ms}[what]
            theirs.append((name, abscissa, known.top1, 0.0))
        _scatter(axes, theirs, colours, f"{label}, the authors'", "ImageNet top-1 in %, the authors'")
    # One legend below all panels, where it covers no point.
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 8), frameon=False)
    save_figure(figure, path)


def _ours(result: Result, what: str, *, small: bool) -> float:
    return {
        "parameters": result.parameters / 1e6,
        "macs": result.macs / (1e6 if small else 1e9),
        "time": 1000 / result.images_per_s,
    }[what]


def _scatter(
    axes: Axes, points: list[Point], colours: dict[str, tuple[float, float, float, float]], x_label: str, y_label: str
) -> None:
    for label, x, y, spread in points:
        if x is None:
            continue
        bars = spread if spread == spread and spread > 0 else None
        axes.errorbar([x], [y], yerr=bars, fmt="o", capsize=4, color=colours[label], label=label_of(label))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    axes.margins(0.15)
    if not axes.get_legend_handles_labels()[0]:
        axes.text(0.5, 0.5, "not published", ha="center", va="center", transform=axes.transAxes, color="grey")
