"""A detector from `cotnet train` over `validate` to `predict`, on a few pictures."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("faster_coco_eval")

from cotnet.cli.train import run
from cotnet.models.weights_file import load_checkpoint, read_weights

KWARGS = '{"channels": 32, "anchor_sizes": [[8], [16], [32], [64], [128]], "box_batch_size_per_image": 16,'
KWARGS += ' "box_score_thresh": 0.0, "box_detections_per_img": 10}'
TINY = ["--model.kwargs", KWARGS, "--model.sizes", "[48, 64]", "--model.max_size", "96", "--model.warmup_epochs", "0"]
TINY += ["--data.workers", "0", "--data.batch_size", "4", "--trainer.check_val_every_n_epoch", "1"]


def train(folder: Path, runs: Path, *fields: str, epochs: int = 1) -> Path:
    words = ["segment_small", *TINY, "--data.path", str(folder), "--runs", str(runs)]
    run([*words, "--trainer.max_epochs", str(epochs), *fields])
    return max((runs / "segment_small").iterdir())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("set")
    (root / "images").mkdir()
    images, annotations = [], []
    for number in range(4):
        picture = Image.new("RGB", (64, 48 + 16 * (number % 2)), (20, 20, 20))
        picture.paste((200, 60, 60), (8, 8, 40, 32))
        picture.save(root / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": picture.height})
        polygon = [[8, 8, 40, 8, 40, 32, 8, 32]]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 5, "bbox": [8, 8, 32, 24], "segmentation": polygon}
        )
    text = json.dumps(
        {"images": images, "annotations": annotations, "categories": [{"id": 5, "name": "red"}, {"id": 6, "name": "x"}]}
    )
    for name in ("train.json", "val.json"):
        (root / name).write_text(text)
    return root


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory) -> Path:
    return train(folder, tmp_path_factory.mktemp("runs"))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_everything(finished, folder):
    left = {path.name for path in finished.iterdir()}
    pictures = {"curves.png", "precision_recall.png", "confusion.png", "confused.png", "samples.jpg"}
    assert left >= pictures | {"config.yaml", "metrics.csv", "best.ckpt", "last.ckpt", "weights.safetensors"}
    for name in pictures:
        with Image.open(finished / name) as picture:
            assert picture.width > 200
    [row] = rows(finished)
    assert {"train_loss", "loss_mask", "val_box_ap", "val_mask_ap", "val_mask_ap50"} <= row.keys()
    entries, card = read_weights(finished / "weights.safetensors")
    assert (card.task, card.model, card.class_names) == ("detection", "cotnet18_half", ["red", "x"])
    assert card.data["category_ids"] == [5, 6]
    assert card.data["init_args"]["path"] == str(folder)
    assert entries["roi_heads.mask_predictor.mask_fcn_logits.weight"].shape[0] == 3


def test_resume_goes_on(finished, folder, tmp_path):
    resumed = train(folder, tmp_path, "--ckpt_path", str(finished / "last.ckpt"), epochs=2)
    assert [row["epoch"] for row in rows(resumed)] == ["1", "2"]
    assert load_checkpoint(resumed / "last.ckpt")["epoch"] == 1
    with pytest.raises(ValueError, match="is of another model"):
        train(folder, tmp_path, "--model.norm", "none", "--ckpt_path", str(finished / "last.ckpt"), epochs=2)


def test_starts_from_a_detector_and_from_a_classifier(finished, folder, tmp_path, weights):
    train(
        folder, tmp_path, "--model.detector", "faster_rcnn", "--model.init_from", str(finished / "weights.safetensors")
    )
    with pytest.raises(ValueError, match="does not fit cotnet18_half: the weights belong to another model"):
        train(folder, tmp_path, "--model.init_from", str(weights))


def test_validate_prints_and_draws(finished, folder, tmp_path, cotnet_command):
    weights = finished / "weights.safetensors"
    status, out, err = cotnet_command("validate", weights, "--workers", "0", "--plots", tmp_path / "plots")
    assert status == 0, err
    lines = out.splitlines()
    assert lines[0].split() == ["box", "AP", "AP50"]
    assert any(line.startswith("mask AP") for line in lines)
    assert lines[-1].startswith("4 pictures")
    assert {path.name for path in (tmp_path / "plots").iterdir()} >= {"precision_recall.png", "confused.png"}
    status, out, _ = cotnet_command("validate", weights, folder, "--workers", "0", "--format", "json")
    scores = json.loads(out)
    assert status == 0
    assert scores["images"] == 4
    assert scores["box"]["per_class"]["x"] is None  # no object of it
    assert 0 <= scores["mask"]["ap50"] <= 1


def test_predict_draws_and_writes_coco(finished, folder, tmp_path, cotnet_command):
    weights, pictures = finished / "weights.safetensors", tmp_path / "pictures"
    shutil.copytree(folder / "images", pictures)
    (pictures / "3.png").write_bytes(b"nothing")
    words = ["predict", weights, pictures, "--workers", "0", "--threshold", "0", "--draw", tmp_path / "drawn"]
    status, out, err = cotnet_command(*words, "--format", "json")
    assert status == 2
    assert f"cannot read the picture {pictures / '3.png'}: it is not a picture" in err
    found = json.loads(out)
    assert [image["file_name"] for image in found["images"]] == [str(pictures / f"{i}.png") for i in range(3)]
    assert found["categories"] == [{"id": 5, "name": "red"}, {"id": 6, "name": "x"}]
    assert len(found["annotations"]) > 3
    assert found["annotations"][0]["segmentation"]["size"] == [48, 64]
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["0.png", "1.png", "2.png"]
    with Image.open(tmp_path / "drawn" / "1.png") as picture:
        assert picture.size == (64, 64)
    status, out, _ = cotnet_command("predict", weights, pictures / "0.png", "--format", "csv", "--threshold", "0")
    assert (status, out.splitlines()[0]) == (0, "path,class,score,x,y,width,height")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "{weights}", "{folder}/images/0.png", "--topk", "2"], "--topk is for classifiers"),
        (["predict", "{classifier}", "{folder}/images/0.png", "--draw", "x"], "--draw is for detectors"),
        (
            ["predict", "{weights}", "{folder}/images/0.png", "--threshold", "2"],
            "--threshold must be from 0 to 1, got 2.0",
        ),
        (["predict", "{weights}", "{folder}/images", "--draw", "{folder}/images"], "would replace the input"),
        (["validate", "{classifier}", "--plots", "x"], "--plots is for detectors"),
        (["validate", "{weights}", "{folder}", "--annotations", "test.json"], "test.json does not exist"),
        (["validate", "{weights}", "{folder}/images/0.png"], "0.png is no zip archive that can be read"),
    ],
)
def test_what_is_wrong_is_one_line(words, message, finished, folder, weights, cotnet_command):
    places = {"weights": finished / "weights.safetensors", "folder": folder, "classifier": weights}
    before = sorted((folder / "images").iterdir())
    status, out, err = cotnet_command(*[word.format(**places) for word in words], "--workers", "0")
    assert status == 2
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1
    assert sorted((folder / "images").iterdir()) == before


def test_semantic_segmentation_trains(folder, tmp_path):
    words = ["semantic_small", "--data.path", str(folder), "--data.workers", "0", "--data.batch_size", "4"]
    words += ["--model.size", "64", "--model.channels", "32", "--model.warmup_epochs", "0", "--trainer.max_epochs", "1"]
    run([*words, "--runs", str(tmp_path)])
    left = tmp_path / "semantic_small" / "1"
    [row] = rows(left)
    assert 0 < float(row["val_miou"]) < 1
    assert {"confusion.png", "samples.jpg", "weights.safetensors"} <= {path.name for path in left.iterdir()}
    assert read_weights(left / "weights.safetensors")[1].task == "segmentation"


def test_help_lists_the_fields_of_detection(capsys):
    from cotnet.cli.train_parser import print_fields

    for group, kind, field in (("model", "Detector", "precise_norm"), ("data", "CocoData", "epoch_pictures")):
        print_fields(group)
        out = capsys.readouterr().out
        assert f"--{group} cotnet.detection.{kind}" in out
        assert f"--{group}.{field}" in out
