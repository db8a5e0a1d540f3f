"""A grid is cut into groups that each hold the baseline."""

import pytest

from cotnet.bench.run import Grid


def test_groups_hold_the_baseline():
    grid = Grid(["a", "b", "base", "c"], "base")
    assert grid.groups(2) == [["base", "a", "b"], ["base", "c"]]
    assert Grid(["base"], "base").groups(2) == [["base"]]


def test_the_default_baseline():
    assert Grid.of(["cotnet50", "resnet50"]).baseline == "resnet50"
    assert Grid.of(["cotnet50", "resnet18"]).baseline == "cotnet50"
    with pytest.raises(ValueError, match="unknown model 'resnt50'"):
        Grid.of(["cotnet50"], baseline="resnt50")


def test_candidates_are_all_combinations_at_each_networks_size():
    grid = Grid(["cotnet50", "se_cotnetd_152_L"], "cotnet50", modes=["eager"], dtypes=["float32"], batches=[1, 2])
    assert [(c.model, c.batch, c.size) for c in grid.candidates(grid.models)] == [
        ("cotnet50", 1, 224), ("se_cotnetd_152_L", 1, 320), ("cotnet50", 2, 224), ("se_cotnetd_152_L", 2, 320),
    ]  # fmt: skip
