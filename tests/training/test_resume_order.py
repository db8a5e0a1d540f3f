"""What decides on the order of the images cannot change inside an epoch, and takes effect between two."""

import os
import shutil
import signal

import numpy as np
import pytest
from PIL import Image

from cotnet.classification import Classifier
from cotnet.cli import main
from cotnet.data import ImageFolder
from cotnet.data.shards.writer import write_shards

NETWORK = ["--model.name", "cotnet_nano", "--model.warmup_epochs", "0", "--data.size", "8", "--data.batch_size", "4"]
NETWORK += ["--data.num_workers", "0", "--data.augment", "none"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 2)):
        for name in ("ash", "birch"):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 255, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{index}.png")
    return root


@pytest.fixture
def batches(monkeypatch):
    """The batches of a run: epoch, number, and the sum of their pixels."""
    seen, step = [], Classifier.training_step

    def training_step(self, batch, batch_idx):
        seen.append((self.current_epoch, batch_idx, float(batch[0].double().sum())))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "training_step", training_step)
    return seen


@pytest.mark.parametrize("kind", ["ImageFolder", "WebShards"])
def test_the_place_and_the_shuffle(kind, images, tmp_path, batches, monkeypatch, capfd):
    one, other = tmp_path / "one", tmp_path / "other"
    if kind == "WebShards":
        write_shards(ImageFolder(str(images)), one, per_shard=6, say=lambda line: None)
    else:
        shutil.copytree(images, one)
    shutil.copytree(one, other)
    words = ["train", "finetune", *NETWORK, "--data", f"cotnet.data.{kind}", "--runs", str(tmp_path / "runs")]
    words += ["--data.root", str(one)]
    shuffled = ["--data.shuffle", "4"] if kind == "WebShards" else []
    with monkeypatch.context() as patch:
        step = Classifier.training_step

        def stop(self, batch, batch_idx):
            os.kill(os.getpid(), signal.SIGTERM)
            return step(self, batch, batch_idx)

        patch.setattr(Classifier, "training_step", stop)
        assert main([*words, *shuffled, "--trainer.max_epochs", "2"]) == 143
    changes = [("data.root", str(one), str(other))] + [("data.shuffle", "4", "2")] * (kind == "WebShards")
    again = ["--trainer.max_epochs", "2", "--ckpt_path", str(tmp_path / "runs" / "finetune" / "1" / "last.ckpt")]
    for field, was, now in changes:
        capfd.readouterr()
        assert main([*words, *shuffled, f"--{field}", now, *again]) == 2
        (line,) = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("note: ")]
        assert f"after batch 1 of epoch 1; there {field} cannot change from {was} to {now}" in line


def test_between_epochs_another_shuffle_takes_effect(images, tmp_path, batches):
    write_shards(ImageFolder(str(images)), tmp_path / "shards", per_shard=6, say=lambda line: None)
    words = ["train", "finetune", *NETWORK, "--data", "cotnet.data.WebShards", "--data.root", str(tmp_path / "shards")]
    words += ["--runs", str(tmp_path / "runs")]
    assert main([*words, "--data.shuffle", "2", "--trainer.max_epochs", "2"]) == 0
    whole = [batch for batch in batches if batch[0] == 1]
    assert main([*words, "--data.shuffle", "4", "--trainer.max_epochs", "1"]) == 0
    batches.clear()
    last = tmp_path / "runs" / "finetune" / "2" / "last.ckpt"
    assert main([*words, "--data.shuffle", "2", "--trainer.max_epochs", "2", "--ckpt_path", str(last)]) == 0
    assert batches == whole
