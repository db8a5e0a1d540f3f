"""Two processes on this machine: the gradients of one, every image validated once, one set of files."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cotnet.cli import main
from cotnet.files.weights import load_checkpoint


@pytest.fixture
def images(tmp_path) -> Path:
    """Seven images of two classes to train on, and seven to validate: two processes cannot halve these."""
    root = tmp_path / "images"
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for name, count in (("ash", 4), ("birch", 3)):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 255, (12, 12, 3), np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{index}.png")
    return root


def test_two_processes_do_what_one_does(images, tmp_path):
    """One start of two processes for all that follows, because that takes most of the time."""
    words = [Path(__file__).with_name("processes_run.py"), images, tmp_path]
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    halves_with_sync_norm_have_the_gradients_of_the_whole(tmp_path)
    one_of_two_processes_leaves_one_run(tmp_path, ended.stdout)
    every_image_counts_once(tmp_path)
    prediction_is_shared_and_written_in_order(tmp_path, images, tmp_path)


def halves_with_sync_norm_have_the_gradients_of_the_whole(folder):
    found = json.loads((folder / "found.json").read_text())
    assert found["sync"] < 1e-9
    assert found["plain"] > 1e-4, "each half's own statistics should differ, or the test sees nothing"
    assert found["averaged"] == [0.5, 0.5]
    assert found["sharded"] < 1e-5
    assert found["skipped"] == ["3", "4"]


def one_of_two_processes_leaves_one_run(folder, said):
    runs = folder / "runs" / "finetune"
    assert [run.name for run in runs.iterdir()] == ["1"]
    left = {path.name for path in (runs / "1").iterdir()}
    assert {"config.yaml", "metrics.csv", "confusion.png", "best.ckpt", "last.ckpt", "weights.safetensors"} <= left
    assert load_checkpoint(runs / "1" / "last.ckpt")["epoch"] == 0
    assert said.count("x 6 / 256, for batches of 1 images x 2 processes x 3 accumulated") == 1


def every_image_counts_once(folder):
    run = folder / "runs" / "finetune" / "1"
    with (run / "metrics.csv").open() as file:
        row = next(csv.DictReader(file))
    found = json.loads((folder / "scores.json").read_text())
    assert found["images"] == 7
    right = 7 * float(row["val_top1"])
    assert right == pytest.approx(round(right), abs=1e-4), "not a number of seven images"
    assert found["top1"] == pytest.approx(float(row["val_top1"]), abs=1e-5)


def prediction_is_shared_and_written_in_order(folder, images, tmp_path):
    weights = folder / "runs" / "finetune" / "1" / "weights.safetensors"
    words = ["predict", weights, images / "val", "--format", "csv", "--topk", "1", "--batch-size", "3"]
    assert main([*map(str, words), "--num-workers", "0", "--output", str(tmp_path / "one.csv")]) == 0
    answers = (folder / "answers.csv").read_text()
    assert answers == (tmp_path / "one.csv").read_text()
    assert len(answers.splitlines()) == 8
