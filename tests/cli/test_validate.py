"""`cotnet validate` as a user calls it."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import timm
import torch

from cotnet.classification.evaluate import Scores
from cotnet.classification.load import load_network
from cotnet.files.weights import read_weights, write_weights
from cotnet.prediction.inputs import InputFiles
from cotnet.prediction.stream import read_input
from cotnet.prediction.transform import input_transform
from tests.cards import CARD


def test_scores_equal_a_plain_count(cotnet_command, weights, images):
    status, out, err = cotnet_command("validate", weights, images, "--format", "json", "--num-workers", 0)
    assert (status, err) == (0, "")
    scores = json.loads(out)
    network, card = load_network(weights)
    right = {name: [] for name in CARD.class_names}
    for path in InputFiles([str(images)]):
        with torch.no_grad():
            named = card.class_names[network(read_input(path, input_transform(card))[None]).argmax()]
        right[path.split("/")[-2]].append(path.split("/")[-2] == named)
    assert scores["per_class"] == {name: pytest.approx(sum(r) / len(r)) for name, r in right.items()}
    assert scores["top1"] == pytest.approx(sum(sum(r) for r in right.values()) / 6)
    assert scores["top5"] == 1
    assert scores["images"] == 6
    assert scores["images_per_s"] > 0


def test_table(cotnet_command, weights, images):
    status, out, _ = cotnet_command("validate", weights, images)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()[:3]] == CARD.class_names
    assert "6 images" in out.splitlines()[-1]


def test_errors(cotnet_command, weights, images, tmp_path):
    assert "name the images: cotnet validate WEIGHTS DATA" in cotnet_command("validate", weights)[2]
    assert "does not exist" in cotnet_command("validate", weights, tmp_path / "absent")[2]
    (images / "val" / "owl").rename(images / "val" / "bat")
    status, _, err = cotnet_command("validate", weights, images)
    assert status == 2
    assert "only the weights know owl; only the data has bat" in err


def test_class_folders_without_a_split(cotnet_command, weights, images, tmp_path):
    expected = json.loads(cotnet_command("validate", weights, images, "--format", "json")[1])
    status, out, err = cotnet_command("validate", weights, images / "val", "--format", "json")
    assert (status, err) == (0, "")
    assert {**json.loads(out), "images_per_s": 0} == {**expected, "images_per_s": 0}
    (images / "val" / "dog").rename(images / "val" / "ox")
    assert "only the weights know dog; only the data has ox" in cotnet_command("validate", weights, images / "val")[2]
    for place in (tmp_path / "none", tmp_path / "some" / "cat"):
        place.mkdir(parents=True)
    assert "must hold val/CLASS or CLASS folders" in cotnet_command("validate", weights, tmp_path / "none")[2]
    assert "holds no image" in cotnet_command("validate", weights, tmp_path / "some")[2]


def test_classes_are_matched_by_name(cotnet_command, weights, images, tmp_path):
    """Outputs in another order than the folders' give the same accuracies."""
    expected = json.loads(cotnet_command("validate", weights, images, "--format", "json")[1])
    order = [2, 0, 1]
    torch.manual_seed(0)
    entries = timm.create_model("cotnet_nano", num_classes=3).state_dict()
    entries = {name: value[order] if name.startswith("fc.") else value for name, value in entries.items()}
    card = dataclasses.replace(CARD, class_names=[CARD.class_names[i] for i in order])
    write_weights(tmp_path / "other.safetensors", entries, card)
    scores = json.loads(cotnet_command("validate", tmp_path / "other.safetensors", images, "--format", "json")[1])
    assert (scores["top1"], scores["per_class"]) == (expected["top1"], expected["per_class"])


def test_recorded_data(cotnet_command, images, tmp_path):
    entries = timm.create_model("cotnet_nano", num_classes=3).state_dict()

    def validate(class_path, **init_args):
        card = dataclasses.replace(CARD, data={"class_path": f"cotnet.data.{class_path}", "init_args": init_args})
        write_weights(tmp_path / "w.safetensors", entries, card)
        return cotnet_command("validate", tmp_path / "w.safetensors", "--output", tmp_path / "scores")

    assert validate("ImageFolder", root=str(images)) == (0, "", "")
    assert "6 images" in (tmp_path / "scores").read_text()
    assert "name the images" in validate("ImageFolder", root=str(tmp_path / "gone"))[2]
    assert "name the images" in validate("CIFAR", root=str(tmp_path / "gone"), download=True)[2]
    assert not (tmp_path / "gone").exists()
    assert "does not fit ImageFolder" in validate("ImageFolder", root=5)[2]
    assert "do not record" in validate("os.system", root="x")[2]
    assert "6 images" in (tmp_path / "scores").read_text()


def test_an_npz_pack(cotnet_command, weights, images, tmp_path):
    files = sorted((images / "val").rglob("*.png"))
    encoded = [path.read_bytes() for path in files]
    pack = {
        "val_jpeg": np.frombuffer(b"".join(encoded), np.uint8),
        "val_offset": np.cumsum([0, *map(len, encoded)]),
        "val_label": np.array([0, 0, 1, 1, 2, 2]),
        "classes": np.array(CARD.class_names),
    }
    np.savez(tmp_path / "pack.npz", **pack)
    folder, packed = (
        json.loads(cotnet_command("validate", weights, data, "--format", "json")[1])
        for data in (images, tmp_path / "pack.npz")
    )
    assert (folder["top1"], folder["per_class"]) == (packed["top1"], packed["per_class"])
    assert "cannot read" in cotnet_command("validate", weights, files[0])[2]


def test_unreadable_images_are_counted_apart(cotnet_command, weights, images, tmp_path):
    expected = json.loads(cotnet_command("validate", weights, images, "--format", "json")[1])
    broken = images / "val" / "cat" / "broken.png"
    broken.write_bytes(b"no image")
    for workers in (0, 1):
        words = ["--output", tmp_path / "scores.json", "--num-workers", workers]
        status, out, err = cotnet_command("validate", weights, images, *words)
        assert (status, out) == (2, "")
        assert err.splitlines() == [
            f"cotnet: error: cannot read the image {broken}: it is not an image; repair or remove it",
            "note: 1 of 7 images could not be read",
        ]
        scores = json.loads((tmp_path / "scores.json").read_text())
        assert (scores["images"], scores["per_class"]) == (6, expected["per_class"])
        assert len(scores["unreadable"]) == 1
    for path in (images / "val").rglob("*.png"):
        path.write_bytes(b"")
    status, out, err = cotnet_command("validate", weights, images)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "none of the images can be read" in err


def test_fewer_classes_are_matched_by_name_and_said(cotnet_command, weights, images):
    expected = json.loads(cotnet_command("validate", weights, images, "--format", "json")[1])["per_class"]
    shutil.rmtree(images / "val" / "cat")
    status, out, err = cotnet_command("validate", weights, images, "--format", "json")
    assert (status, err) == (0, "note: the data has 2 of the weights' 3 classes; without cat\n")
    assert json.loads(out)["per_class"] == {**expected, "cat": None}
    assert cotnet_command("validate", weights, images)[1].splitlines()[0].split() == ["cat", "--"]


def test_weights_without_names_are_matched_by_number_or_named(cotnet_command, weights, images, tmp_path):
    expected = json.loads(cotnet_command("validate", weights, images, "--format", "json")[1])["per_class"]
    torch.save(read_weights(weights)[0], tmp_path / "bare.pth")
    (tmp_path / "names.txt").write_text("owl\ncat\ndog\n")
    words = ["validate", tmp_path / "bare.pth", images, "--model", "cotnet_nano", "--format", "json"]
    assert len(json.loads(cotnet_command(*words)[1])["per_class"]) == 3
    named = json.loads(cotnet_command(*words, "--class-names", tmp_path / "names.txt")[1])["per_class"]
    assert named.keys() == expected.keys()
    shutil.rmtree(images / "val" / "cat")
    assert "name them: --class-names FILE" in cotnet_command(*words)[2]


def test_names_that_occur_twice_stay_apart():
    scores = Scores(0.5, 1.0, [0.0, 1.0, 0.5], 3, 1.0, ["crane", "crane", "crane (1)"])
    assert scores.to_plain()["per_class"] == {"crane": 0.0, "crane (1)": 1.0, "crane (1) (2)": 0.5}


def test_csv_is_no_format_of_scores(cotnet_command, weights, images, tmp_path):
    status, _, err = cotnet_command("validate", weights, images, "--output", tmp_path / "x.csv")
    assert (status, err.count("\n")) == (2, 1)
    assert "the formats here are table and json" in err
