"""The figure and what is missing from it."""

from cotnet.bench.figure import draw_times


def test_figure(tmp_path):
    missing = draw_times({("cotnet50", 224): 20.0, ("cotnet18", 224): 9.0}, tmp_path / "f.png", title="here")
    assert missing == ["cotnet18 at 224"]
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
