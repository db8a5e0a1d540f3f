"""A training of hours on the CPU is announced."""

import timm

import cotnet  # noqa: F401 (registers the family)
from cotnet.classification import duration
from cotnet.classification.duration import long_training
from cotnet.cli import main
from tests.training.tiny import TINY


def test_hours_are_announced_with_smaller_networks():
    model = timm.create_model("cotnet50", num_classes=10)
    note = long_training(model, "cotnet50", size=224, images=3000, epochs=100)
    assert note is not None
    assert "cotnet50 at 224 pixels needs about" in note
    assert "--model.name cotnet_nano --data.size 64" in note


def test_minutes_are_not():
    model = timm.create_model("cotnet_nano", num_classes=10)
    assert long_training(model, "cotnet_nano", size=64, images=3000, epochs=10) is None


def test_a_run_says_so(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(duration, "_MACS_PER_S", 1.0)
    assert main(["train", "embedded", *TINY, "--trainer.max_epochs", "1", "--runs", str(tmp_path)]) == 0
    assert "note: cotnet_nano at 8 pixels needs about" in capfd.readouterr().out
