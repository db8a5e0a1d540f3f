"""A recipe is run from Python as from the command line."""

import pytest

from cotnet.files.weights import read_weights
from cotnet.training import run_recipe

SMALL = {
    "model.name": "cotnet_nano",
    "model.warmup_epochs": 0,
    "data.size": 8,
    "data.train_per_class": 2,
    "data.val_per_class": 1,
    "data.batch_size": 14,
    "trainer.max_epochs": 1,
}


def test_a_run_gives_its_folder_score_and_weights(tmp_path):
    result = run_recipe(overrides=SMALL, runs=tmp_path)
    assert result.folder == tmp_path / "embedded" / "1"
    assert result.weights == result.folder / "weights.safetensors"
    assert result.status == "Complete: 1 epochs."
    assert read_weights(result.weights)[1].scores["val_top1"] == pytest.approx(result.score)
    report = (result.folder / "report.md").read_text()
    assert "cotnet train embedded --model.name=cotnet_nano --model.warmup_epochs=0 --data.size=8" in report
    again = run_recipe(result.folder / "config.yaml", {"model.base_lr": 0.5}, runs=tmp_path)
    assert again.folder == tmp_path / "config" / "1"


def test_a_range_test_makes_no_folder_and_gives_its_suggestion(tmp_path):
    result = run_recipe("embedded", {**SMALL, "find_lr": str(tmp_path / "range.png")}, runs=tmp_path / "runs")
    assert (result.folder, result.weights, result.score) == (None, None, None)
    assert len(result.range_test.rates) == len(result.range_test.losses)
    assert [path.name for path in tmp_path.iterdir()] == ["range.png"]


def test_what_is_wrong_is_an_error_like_any_other(tmp_path):
    with pytest.raises(ValueError, match=r"unknown field model\.base_lrr; did you mean --model\.base_lr 1\?"):
        run_recipe(overrides={"model.base_lrr": 1}, runs=tmp_path)
