"""Matplotlib figures as files."""

from pathlib import Path
from typing import TYPE_CHECKING

from cotnet.files.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 110


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG; a file gets its name only when it is complete.

    Args:
        figure: A figure made without ``pyplot``, so that it belongs to no window and no backend.
        path: The PNG to write.

    Raises:
        OSError: It cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with replacing(path) as partial:
        FigureCanvasAgg(figure).print_figure(partial, format="png", dpi=_DPI)
