"""Matplotlib figures as files."""

from pathlib import Path
from typing import TYPE_CHECKING

from cotnet.files.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 110
_LONGEST = 24  # characters of a name


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG; a file gets its name only when it is complete.

    Every text is drawn as it is: names of classes and files may hold ``$`` and ``^``, which matplotlib would read
    as a formula. The powers of ten of a logarithmic axis stay formulas.

    Args:
        figure: A figure made without ``pyplot``, so that it belongs to no window and no backend.
        path: The PNG to write.

    Raises:
        OSError: It cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    _draw_names_as_they_are(figure)
    with replacing(path) as partial:
        FigureCanvasAgg(figure).print_figure(partial, format="png", dpi=_DPI)


def label_of(name: str) -> str:
    """A class's or a file's name as a label: one line, shortened where it is long."""
    line = " ".join(name.split())
    short = line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
    # Matplotlib leaves out of a legend what begins with an underscore.
    return f"\N{NO-BREAK SPACE}{short}" if short.startswith("_") else short


def _draw_names_as_they_are(figure: "Figure") -> None:
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter

    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)]
    logarithmic = [axis for axis in axes if isinstance(axis.get_major_formatter(), LogFormatter)]
    powers = {id(label) for axis in logarithmic for label in axis.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        if id(text) not in powers:
            text.set_parse_math(False)
