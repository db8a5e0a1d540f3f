"""Figures as files: complete or absent, with every name drawn as it is."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from cotnet.files.figure import label_of, save_figure

NAMES = ["\\frac", "x^2_", "US$", "A$B$", "$\\frac$", "{$$}", "\\$"]


def figure_of(names):
    figure = Figure(figsize=(5, 4), layout="constrained")
    figure.suptitle(names[0])
    axes = figure.subplots()
    axes.plot(range(len(names)), label=names[-1])
    axes.set_xticks(range(len(names)), names)
    axes.set_title(", ".join(names))
    axes.annotate(names[1], (1, 1))
    axes.legend()
    return figure


def pixels(figure, path):
    save_figure(figure, path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_names_are_drawn_as_they_are(tmp_path):
    drawn = pixels(figure_of(NAMES), tmp_path / "names.png")
    # Matplotlib's own way to plain text: an escaped dollar sign is drawn as one.
    plain = figure_of([name.replace("$", "\\$") for name in NAMES])
    FigureCanvasAgg(plain).print_figure(tmp_path / "plain.png", dpi=110)
    with Image.open(tmp_path / "plain.png") as image:
        assert (drawn == np.asarray(image.convert("RGB"))).all()


def test_powers_of_a_log_axis_stay_formulas(tmp_path):
    figure = Figure()
    axes = figure.subplots()
    axes.loglog([1e-4, 1e4], [1e-4, 1e4])
    save_figure(figure, tmp_path / "log.png")
    assert all(label.get_parse_math() for label in axes.get_xticklabels())


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("US$", "US$"),
        ("a\n b", "a b"),
        ("x" * 30, "x" * 23 + "…"),
        ("_private", "\N{NO-BREAK SPACE}_private"),
        ("", ""),
    ],
)
def test_a_name_as_a_label(name, label):
    assert label_of(name) == label


def test_every_name_is_in_the_legend(tmp_path):
    figure = Figure()
    axes = figure.subplots()
    for name in ["_private", "$x$", "plain"]:
        axes.plot([0, 1], label=label_of(name))
    assert len(axes.legend().get_texts()) == 3


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "figure.png"
    path.write_bytes(b"before")

    class Broken(Figure):
        def draw(self, renderer):
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        save_figure(Broken(), path)
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]
