"""Two processes that train, validate and predict with detectors and segmenters do what one does."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("faster_coco_eval")

from cotnet.cli import main

KWARGS = '{"channels": 32, "anchor_sizes": [[8], [16], [32], [64], [128]], "box_batch_size_per_image": 16,'
KWARGS += ' "box_score_thresh": 0.0, "box_detections_per_img": 10}'
DETECTOR = ["segment_small", "--model.kwargs", KWARGS, "--model.sizes", "[48, 64]", "--model.max_size", "96"]
DETECTOR += ["--model.norm", "batch", "--trainer.sync_batchnorm", "true", "--model.precise_norm", "2"]
DETECTOR += ["--trainer.check_val_every_n_epoch", "1"]
SEGMENTER = ["semantic_small", "--model.size", "64", "--model.channels", "32"]
IMAGES = 7  # which two processes cannot halve

SCRIPT = """
import sys, torch
import torch.distributed as dist
from cotnet.cli import main
torch.set_num_threads(1)
dist.init_process_group("gloo")
for words in {commands}:
    assert main(words) == 0, words
    dist.barrier()  # the first process writes when the others are done
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of three sizes, each with an object of one of two colours at another place."""
    root = tmp_path_factory.mktemp("set")
    (root / "images").mkdir()
    generator = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(IMAGES):
        width, height = ((64, 48), (48, 64), (80, 64))[number % 3]
        image = Image.fromarray(generator.integers(0, 60, (height, width, 3), np.uint8))
        x, y = (int(start) for start in generator.integers(2, 16, 2))
        image.paste(((200, 60, 60), (60, 60, 220))[number % 2], (x, y, x + 24, y + 20))
        image.save(root / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
        polygon = [[x, y, x + 24, y, x + 24, y + 20, x, y + 20]]
        one = {"id": number, "image_id": number, "category_id": 5 + number % 2, "bbox": [x, y, 24, 20]}
        annotations.append({**one, "segmentation": polygon})
    categories = [{"id": 5, "name": "red"}, {"id": 6, "name": "blue"}]
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    for name in ("train.json", "val.json"):
        (root / name).write_text(text)
    return root


def uses(weights, folder, out) -> list[list[str]]:
    """The commands that one process and two are to answer alike."""
    plain = ["--num-workers", "0", "--batch-size", "2", "--format"]
    return [
        ["validate", weights, *plain, "json", "--output", f"{out}/scores.json"],
        ["predict", weights, f"{folder}/images", *plain, "json", "--output", f"{out}/found.json"],
    ]


def test_two_processes_do_what_one_does(folder, tmp_path):
    common = [
        "--data.path",
        str(folder),
        "--data.num_workers",
        "0",
        "--data.batch_size",
        "2",
        "--runs",
        f"{tmp_path}/runs",
    ]
    common += ["--model.warmup_epochs", "0", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    common += ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    commands, expected = [], []
    for recipe in (DETECTOR, SEGMENTER):
        weights = f"{tmp_path}/runs/{recipe[0]}/1/weights.safetensors"
        for out in ("one", "two"):
            (tmp_path / out / recipe[0]).mkdir(parents=True)
        commands += [["train", *recipe, *common], *uses(weights, folder, tmp_path / "two" / recipe[0])]
        expected += uses(weights, folder, tmp_path / "one" / recipe[0])
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(commands=commands))
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for words in expected:
        assert main(words) == 0
    for name, recorded in (("segment_small", "val_mask_ap"), ("semantic_small", "val_miou")):
        one, two = (json.loads((tmp_path / out / name / "scores.json").read_text()) for out in ("one", "two"))
        assert one.pop("images_per_s") > 0
        assert two.pop("images_per_s") > 0
        assert one == two
        assert one["images"] == IMAGES
        with (tmp_path / "runs" / name / "1" / "metrics.csv").open() as file:
            [row] = csv.DictReader(file)
        score = one["mean_iou"] if name == "semantic_small" else one["mask"]["ap"]
        assert float(row[recorded]) == pytest.approx(score, abs=1e-4)
        found = [json.loads((tmp_path / out / name / "found.json").read_text()) for out in ("one", "two")]
        assert found[0] == found[1]
        assert len(found[0]["images"]) == IMAGES
