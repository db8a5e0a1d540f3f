"""A detector from `cotnet train` over `validate` to `predict`, on a few images."""

import csv
import json
import shutil
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("faster_coco_eval")

import cotnet
from cotnet.cli.report import Report
from cotnet.cli.train import run
from cotnet.detection import CocoData, create_detector
from cotnet.detection.predict import DetectedObject, Detections
from cotnet.files.weights import WeightsCard, load_checkpoint, read_weights, write_weights
from tests.cards import CARD

KWARGS = '{"channels": 32, "anchor_sizes": [[8], [16], [32], [64], [128]], "box_batch_size_per_image": 16,'
KWARGS += ' "box_score_thresh": 0.0, "box_detections_per_img": 10}'
TINY = ["--model.kwargs", KWARGS, "--model.sizes", "[48, 64]", "--model.max_size", "96", "--model.warmup_epochs", "0"]
TINY += ["--data.num_workers", "0", "--data.batch_size", "4", "--trainer.check_val_every_n_epoch", "1"]


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
        image = Image.new("RGB", (64, 48 + 16 * (number % 2)), (20, 20, 20))
        image.paste((200, 60, 60), (8, 8, 40, 32))
        image.save(root / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": image.height})
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
    images = {"curves.png", "precision_recall.png", "confusion.png", "confused.png", "samples.jpg"}
    assert left >= images | {"config.yaml", "metrics.csv", "best.ckpt", "last.ckpt", "weights.safetensors"}
    for name in images:
        with Image.open(finished / name) as image:
            assert image.width > 200
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
    with pytest.raises(ValueError, match="belongs to another model"):
        train(folder, tmp_path, "--model.norm", "none", "--ckpt_path", str(finished / "last.ckpt"), epochs=2)


def test_starts_from_a_detector_and_from_a_classifier(finished, folder, tmp_path, weights):
    train(
        folder, tmp_path, "--model.detector", "faster_rcnn", "--model.init_from", str(finished / "weights.safetensors")
    )
    with pytest.raises(ValueError, match="does not fit cotnet18_half: the weights belong to another model"):
        train(folder, tmp_path, "--model.init_from", str(weights))


def test_validate_prints_and_draws(finished, folder, tmp_path, cotnet_command):
    weights = finished / "weights.safetensors"
    status, out, err = cotnet_command("validate", weights, "--num-workers", "0", "--plots", tmp_path / "plots")
    assert status == 0, err
    lines = out.splitlines()
    assert lines[0].split() == ["box", "AP", "AP50"]
    assert any(line.startswith("mask AP") for line in lines)
    assert lines[-1].startswith("4 images")
    assert {path.name for path in (tmp_path / "plots").iterdir()} >= {"precision_recall.png", "confused.png"}
    status, out, _ = cotnet_command("validate", weights, folder, "--num-workers", "0", "--format", "json")
    scores = json.loads(out)
    assert status == 0
    assert scores["images"] == 4
    assert scores["box"]["per_class"]["x"] is None  # no object of it
    assert 0 <= scores["mask"]["ap50"] <= 1


def test_predict_draws_and_writes_coco(finished, folder, tmp_path, cotnet_command):
    weights, images = finished / "weights.safetensors", tmp_path / "images"
    shutil.copytree(folder / "images", images)
    (images / "3.png").write_bytes(b"nothing")
    words = ["predict", weights, images, "--num-workers", "0", "--threshold", "0", "--draw", tmp_path / "drawn"]
    status, out, err = cotnet_command(*words, "--format", "json")
    assert status == 2
    assert f"cannot read the image {images / '3.png'}: it is not an image" in err
    found = json.loads(out)
    assert [image["file_name"] for image in found["images"]] == [str(images / f"{i}.png") for i in range(3)]
    assert found["categories"] == [{"id": 5, "name": "red"}, {"id": 6, "name": "x"}]
    assert len(found["annotations"]) > 3
    assert found["annotations"][0]["segmentation"]["size"] == [48, 64]
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["0.png", "1.png", "2.png"]
    with Image.open(tmp_path / "drawn" / "1.png") as image:
        assert image.size == (64, 64)
    status, out, _ = cotnet_command("predict", weights, images / "0.png", "--format", "csv", "--threshold", "0")
    assert (status, out.splitlines()[0]) == (0, "path,class,score,x,y,width,height,error")


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
        (["validate", "{classifier}", "--plots", "x"], "--plots is for detectors and segmenters"),
        (["predict", "{segmenter}", "{folder}/images", "--threshold", "0.1"], "--threshold is for detectors, and"),
        (["predict", "{weights}", "{folder}/images", "--masks", "x"], "--masks is for segmenters, and"),
        (["export", "{weights}"], "name an image of the size to export for"),
        (["export", "{weights}", "--tolerance", "1"], "--tolerance is for classifiers and segmenters, and"),
        (["export", "{weights}", "--format", "torch"], "a detector exports to onnx only, not to torch"),
        (["validate", "{weights}", "{folder}", "--annotations", "test.json"], "test.json does not exist"),
        (["validate", "{weights}", "{folder}/images/0.png"], "0.png cannot be read as a zip archive"),
    ],
)
def test_what_is_wrong_is_one_line(words, message, finished, segmenter, folder, weights, cotnet_command):
    places = {"weights": finished / "weights.safetensors", "folder": folder, "classifier": weights}
    places["segmenter"] = segmenter / "weights.safetensors"
    before = sorted((folder / "images").iterdir())
    words = [word.format(**places) for word in words] + ["--num-workers", "0"] * (words[0] != "export")
    status, out, err = cotnet_command(*words)
    assert status == 2
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1
    assert sorted((folder / "images").iterdir()) == before


@pytest.mark.parametrize("kind", ["detector", "segmenter"])
def test_a_turned_image_is_seen_upright(kind, finished, segmenter, folder, tmp_path, cotnet_command):
    run = finished if kind == "detector" else segmenter
    upright = Image.open(folder / "images" / "0.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    (tmp_path / "in").mkdir()
    upright.save(tmp_path / "in" / "a.png")
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "in" / "b.png", exif=exif)
    words = [run / "weights.safetensors", tmp_path / "in", "--num-workers", "0", "--draw", tmp_path / "out"]
    words += ["--threshold", "0"] if kind == "detector" else []
    status, out, err = cotnet_command("predict", *words, "--format", "json")
    assert status == 0, err
    found = json.loads(out)
    assert [(image["width"], image["height"]) for image in found["images"]] == [(64, 48)] * 2
    one, other = (
        [
            {k: v for k, v in entry.items() if k not in ("id", "image_id")}
            for entry in found["annotations"]
            if entry["image_id"] == number
        ]
        for number in (1, 2)
    )
    assert one == other
    assert one
    drawn = [Image.open(tmp_path / "out" / name).tobytes() for name in ("a.png", "b.png")]
    assert drawn[0] == drawn[1] != upright.convert("RGB").tobytes()


def test_images_in_an_archive_are_found_and_drawn(finished, folder, tmp_path, cotnet_command):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(folder / "images" / "0.png", "0.png")
    words = [
        "predict",
        finished / "weights.safetensors",
        tmp_path / "x.tar",
        "--num-workers",
        "0",
        "--draw",
        tmp_path / "o",
    ]
    status, out, err = cotnet_command(*words)
    assert (status, err) == (0, "")
    assert out.startswith(f"{tmp_path}/x.tar/0.png  ")
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["0.png"]


@pytest.fixture(scope="module")
def segmenter(folder, tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    words = ["semantic_small", "--data.path", str(folder), "--data.num_workers", "0", "--data.batch_size", "4"]
    words += ["--model.size", "64", "--model.channels", "32", "--model.warmup_epochs", "0", "--trainer.max_epochs", "1"]
    run([*words, "--runs", str(runs)])
    return runs / "semantic_small" / "1"


def test_semantic_segmentation_trains(segmenter):
    [row] = rows(segmenter)
    assert 0 < float(row["val_miou"]) < 1
    assert {"confusion.png", "samples.jpg", "weights.safetensors"} <= {path.name for path in segmenter.iterdir()}
    assert read_weights(segmenter / "weights.safetensors")[1].task == "segmentation"


def test_a_resume_inside_an_epoch_counts_the_images_that_can_be_used(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "set")
    (tmp_path / "set" / "images" / "3.png").write_bytes(b"")
    words = [
        "semantic_small",
        "--data.path",
        str(tmp_path / "set"),
        "--data.num_workers",
        "0",
        "--data.batch_size",
        "1",
    ]
    words += ["--data.skip_unreadable", "1", "--model.size", "64", "--model.channels", "32", "--runs", str(tmp_path)]
    words += ["--model.warmup_epochs", "0", "--trainer.max_epochs", "1"]
    run([*words, "--trainer.max_steps", "1"])
    with pytest.raises(ValueError, match=r"model\.optimizer cannot change from adamw to sgd on a resume"):
        run([*words, "--model.optimizer", "sgd", "--ckpt_path", "last"])
    run([*words, "--ckpt_path", "last"])
    assert load_checkpoint(tmp_path / "semantic_small" / "1" / "last.ckpt")["global_step"] == 3


def test_a_segmenter_is_validated(segmenter, tmp_path, cotnet_command):
    weights = segmenter / "weights.safetensors"
    words = ["validate", weights, "--num-workers", "0", "--no-fuse"]
    status, out, err = cotnet_command(*words, "--format", "json", "--plots", tmp_path / "plots")
    assert status == 0, err
    scores, [row] = json.loads(out), rows(segmenter)
    assert scores["images"] == 4
    assert scores["mean_iou"] == pytest.approx(float(row["val_miou"]), abs=1e-5)
    assert list(scores["per_class"]) == ["(background)", "red", "x"]
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"confusion.png", "samples.jpg"}
    status, out, _ = cotnet_command("validate", weights, "--num-workers", "0")
    assert status == 0
    assert out.splitlines()[-1].startswith("mean IoU ")


def test_a_segmenter_writes_maps_and_coloured_images(segmenter, folder, tmp_path, cotnet_command):
    weights, drawn, masks = segmenter / "weights.safetensors", tmp_path / "drawn", tmp_path / "masks"
    words = ["predict", weights, folder / "images", "--num-workers", "0", "--draw", drawn, "--masks", masks]
    status, out, err = cotnet_command(*words, "--format", "json")
    assert status == 0, err
    found = json.loads(out)
    names = sorted(path.name for path in (folder / "images").iterdir())
    assert sorted(path.name for path in drawn.iterdir()) == names
    assert sorted(path.name for path in masks.iterdir()) == [*names, "classes.json"]
    classes = {entry["value"]: entry for entry in json.loads((masks / "classes.json").read_text())}
    for image in found["images"]:
        labels = np.asarray(Image.open(masks / Path(image["file_name"]).name))
        assert labels.shape == (image["height"], image["width"])
        entries = [one for one in found["annotations"] if one["image_id"] == image["id"]]
        for one in entries:
            [value] = [value for value, entry in classes.items() if entry["category_id"] == one["category_id"]]
            assert one["area"] == (labels == value).sum() > 0
        assert len(entries) == len(set(labels.flatten().tolist()) - {0})
    status, out, _ = cotnet_command("predict", weights, folder / "images" / "0.png", "--format", "csv")
    assert (status, out.splitlines()[0]) == (0, "path,class,pixels,share,error")
    status, _, err = cotnet_command("predict", weights, folder / "images", "--draw", drawn, "--masks", drawn)
    assert status == 2
    assert "--draw and --masks name the same folder" in err


def untrained(folder: Path, **changes) -> Path:
    """Weights of a detector that nothing trained, on a network that is quick to trace."""
    torch.manual_seed(0)
    options = {"detector": "faster_rcnn", "norm": "group", "channels": 32, "frozen": 0, "min_size": 64, "max_size": 96}
    options |= {"rpn_post_nms_top_n_test": 30, "box_score_thresh": 0.0, "box_detections_per_img": 10}
    options |= changes
    network = create_detector(backbone="resnet10t", num_classes=2, **options)
    preprocessing = {**CARD.preprocessing, "input_size": [3, 64, 96]}
    card = WeightsCard(
        model="resnet10t",
        task="detection",
        kwargs=options,
        class_names=["red", "x"],
        preprocessing=preprocessing,
        data={"category_ids": [5, 6]},
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / "weights.safetensors", network.state_dict(), card)
    return folder / "weights.safetensors"


@pytest.fixture
def small(tmp_path) -> Path:
    return untrained(tmp_path / "run")


@pytest.fixture
def noise(tmp_path) -> Path:
    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)).save(path)
    return path


def test_limits_of_the_detector_are_said_and_lifted(small, noise, tmp_path, cotnet_command):
    words = ["predict", small, noise, "--num-workers", "0", "--threshold", "0", "--format", "csv"]
    status, out, err = cotnet_command(*words)
    assert (status, len(out.splitlines())) == (0, 11)
    expected = "1 image with 10 objects, the most that the detector gives; --box-detections-per-img raises this limit"
    assert err == f"note: {expected}\n"
    status, out, err = cotnet_command(*words, "--box-detections-per-img", "1000")
    assert (status, err) == (0, "")
    assert 12 < len(out.splitlines()) < 1001
    status, _, err = cotnet_command(*words, "--box-detections-per-img", "0")
    assert (status, err.count("\n")) == (2, 1)
    strict = untrained(tmp_path / "strict", box_score_thresh=0.9)
    words[1] = strict
    assert len(cotnet_command(*words)[1].splitlines()) == 11  # what is asked for, whatever the detector's limit was
    words[6] = "0.95"
    assert cotnet_command(*words)[1].splitlines()[1].endswith("noise.png,,,,,,,")  # an image without objects has a row
    model = cotnet.load(strict)
    assert model(noise).objects == []
    with pytest.raises(ValueError, match=r"threshold 0.2 is below 0.9.*load it with min_score=0.2"):
        model(noise, threshold=0.2)
    assert len(cotnet.load(strict, min_score=0.2)(noise, threshold=0.2).objects) == 10
    assert len(next(cotnet.predict(strict, noise, threshold=0.0)).objects) == 10


def test_training_takes_what_predict_has_found_in_turned_images(small, noise, tmp_path, cotnet_command, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "set" / "photos").mkdir(parents=True)
    Image.open(noise).save(tmp_path / "set" / "photos" / "turned.jpg", exif=exif)
    monkeypatch.chdir(tmp_path / "set")
    words = ["predict", small, "photos", "--threshold", "0", "--output", "found.json", "--num-workers", "0"]
    assert cotnet_command(*words)[0] == 0
    data = CocoData(".", train="found.json", val="found.json", images=".")
    data.setup("validate")
    data.check_images()
    image, target = data.val_set[0]
    assert image.shape[-2:] == (64, 48)
    assert len(target["boxes"]) > 0
    assert json.loads(Path("found.json").read_text())["info"] == {"image_orientation": "upright"}


def test_json_is_written_as_it_comes(tmp_path):
    """Memory does not grow with the images, whatever their masks."""
    card = WeightsCard(
        model="x", task="detection", class_names=["a"], preprocessing=CARD.preprocessing, data={"category_ids": [1]}
    )

    def peak_kib(count):
        tracemalloc.start()
        with (tmp_path / "x.json").open("w") as file, Report("json", file, card, Detections.columns) as report:
            for number in range(count):
                mask = {"size": [9, 9], "counts": f"{number}" * 100}
                one = DetectedObject(class_name="a", category_id=1, score=0.5, box=(0, 0, 1, 1), segmentation=mask)
                report.write(Detections(image=f"{number}.png", width=9, height=9, objects=[one]))
        peak = tracemalloc.get_traced_memory()[1] / 2**10
        tracemalloc.stop()
        return peak

    monkeypatched = pytest.MonkeyPatch()
    monkeypatched.setattr(DetectedObject, "area", 1.0)
    few, many = peak_kib(20), peak_kib(2000)
    monkeypatched.undo()
    assert many < few + 100
    content = json.loads((tmp_path / "x.json").read_text())
    assert len(content["images"]) == len(content["annotations"]) == 2000
    assert content["unreadable"] == []


def test_a_detector_and_its_backbone_are_exported(small, noise, tmp_path, cotnet_command):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    weights, image, tmp_path = small, noise, tmp_path / "out"
    tmp_path.mkdir()
    words = ["export", weights, "--images", image, "--output", tmp_path / "d"]
    status, out, err = cotnet_command(*words)
    assert (status, err) == (0, "")
    assert "the same 30 objects" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.backbone.onnx", "d.onnx", "d.onnx.json"]
    described = json.loads((tmp_path / "d.onnx.json").read_text())
    assert (described["class_names"], described["category_ids"]) == (["red", "x"], [5, 6])
    session = onnxruntime.InferenceSession(tmp_path / "d.backbone.onnx", providers=["CPUExecutionProvider"])
    p2, *_, p6 = session.run(None, {"images": np.zeros((1, 3, 64, 128), np.float32)})
    assert (p2.shape, p6.shape) == ((1, 32, 16, 32), (1, 32, 1, 2))
    status, _, err = cotnet_command(*words)
    assert status == 2
    assert "exists; --overwrite replaces it" in err
    status, _, err = cotnet_command("predict", tmp_path / "d.onnx", image)
    assert status == 2
    assert "d.onnx is for detection; this command takes weights.safetensors" in err


def test_help_lists_the_fields_of_detection(capsys):
    for group, kind, field in (("model", "Detector", "precise_norm"), ("data", "CocoData", "epoch_images")):
        run(["--help", group])
        out = capsys.readouterr().out
        assert f"--{group} cotnet.detection.{kind}" in out
        assert f"--{group}.{field}" in out


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_a_precision_that_no_detector_has_on_the_cpu_is_refused(folder, tmp_path, precision, cotnet_command):
    words = ["train", "detect_small", "--data.path", folder, "--data.num_workers", "0", "--runs", tmp_path / "runs"]
    status, _, err = cotnet_command(*words, "--trainer.precision", precision, "--trainer.accelerator", "cpu")
    assert status == 2
    assert "use --trainer.precision 32-true" in err.splitlines()[-1]
    assert not (tmp_path / "runs").exists()
