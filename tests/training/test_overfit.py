"""The check that a network learns a few images by heart: the same ones in every epoch, of more than one class."""

import numpy as np
import pytest
from PIL import Image

from cotnet.classification import Classifier
from cotnet.cli.train import run
from cotnet.data import ImageFolder
from cotnet.data.shards.writer import write_shards


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder of two classes, of 24 images each, and the same in shards."""
    root = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 4)):
        for name in ("ash", "birch"):
            (root / "folder" / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 255, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(root / "folder" / split / name / f"{index}.png")
    write_shards(ImageFolder(str(root / "folder")), root / "shards", per_shard=16, say=lambda line: None)
    return root


@pytest.mark.parametrize(("kind", "place"), [("ImageFolder", "folder"), ("WebShards", "shards")])
def test_every_epoch_has_the_same_batches_of_mixed_classes(places, tmp_path, monkeypatch, kind, place):
    seen, validated = [], []
    step, look = Classifier.training_step, Classifier.validation_step
    monkeypatch.setattr(Classifier, "training_step", lambda self, batch, i: seen.append(batch) or step(self, batch, i))
    monkeypatch.setattr(
        Classifier, "validation_step", lambda self, batch, i: validated.append(batch) or look(self, batch, i)
    )
    words = ["finetune", "--model.name", "cotnet20_nano", "--model.warmup_epochs", "0", "--runs", str(tmp_path)]
    words += ["--data", f"cotnet.data.{kind}", "--data.root", str(places / place), "--data.size", "8"]
    words += ["--data.batch_size", "6", "--data.num_workers", "0", "--data.augment", "none", "--data.crop_pct", "1"]
    run([*words, "--trainer.overfit_batches", "2", "--trainer.max_epochs", "3"])
    assert len(seen) == 6
    for later, first in zip(seen[2:], seen[:2] * 2, strict=True):
        assert all((one == other).all() for one, other in zip(later, first, strict=True))
    for _, labels in seen[:2] + validated[:1]:
        assert len(labels.unique()) == 2
