"""`cotnet export` as a user calls it."""

import dataclasses
import importlib.util
import json

import pytest
import timm

from cotnet.files.weights import write_weights
from tests.cards import CARD


@pytest.fixture
def resnet(tmp_path):
    """Weights of a small network of timm, as `cotnet train --model.name test_resnet` leaves them."""
    path = tmp_path / "run" / "weights.safetensors"
    path.parent.mkdir()
    entries = timm.create_model("test_resnet", num_classes=3).state_dict()
    write_weights(path, entries, dataclasses.replace(CARD, model="test_resnet"))
    return path


def test_export_and_serve(cotnet_command, resnet, images, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    status, out, err = cotnet_command("export", resnet, "--format", "torch,onnx", "--images", images)
    assert (status, err) == (0, "")
    assert out.count("top-1 agrees on 6 of 6 images") == 2
    assert "opset 20" in out
    made = sorted(path.name for path in resnet.parent.iterdir())
    assert made == [f"weights.{end}" for end in ("onnx", "onnx.json", "pt2", "pt2.json", "safetensors")]
    assert json.loads((resnet.parent / "weights.onnx.json").read_text())["class_names"] == CARD.class_names

    status, out, err = cotnet_command("export", resnet, "--images", images)
    assert status == 2
    assert "weights.onnx exists; --overwrite replaces it" in err
    status, out, err = cotnet_command(
        "export", resnet, "--images", images, "--overwrite", "--tolerance", "1e-12", "--output", resnet.parent
    )
    assert (status, err.count("\n")) == (2, 1)
    assert "nothing was written" in err
    assert "largest error" in out
    assert sorted(path.name for path in resnet.parent.iterdir()) == made

    answers = [
        json.loads(cotnet_command("predict", path, images, "--format", "json")[1])
        for path in (resnet, resnet.with_suffix(".onnx"))
    ]
    for ours, served in zip(*answers, strict=True):
        assert ours["path"] == served["path"]
        assert [p["class"] for p in ours["predictions"]] == [p["class"] for p in served["predictions"]]
    scores = [
        json.loads(cotnet_command("validate", path, images, "--format", "json")[1])
        for path in (resnet, resnet.with_suffix(".onnx"))
    ]
    assert scores[0]["per_class"] == scores[1]["per_class"]
    assert "leave --model" in cotnet_command("predict", resnet.with_suffix(".onnx"), images, "--ema")[2]


def test_another_size_and_the_images_at_hand(cotnet_command, resnet, tmp_path):
    target = tmp_path / "other"
    words = ["--format", "torch", "--size", 48, "--output", f"{target}.pt2"]
    status, out, _ = cotnet_command("export", resnet, *words)
    assert status == 0
    assert "48 x 48 pixels" in out
    assert ("images of scikit-image" in out) == (importlib.util.find_spec("skimage") is not None)
    assert json.loads((tmp_path / "other.pt2.json").read_text())["preprocessing"]["input_size"] == [3, 48, 48]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "onxx"], "unknown format 'onxx'; did you mean onnx?"),
        (["--format", "caffe"], "unknown format 'caffe'; the formats are torch, onnx, openvino"),
        (["--format", ","], "--format names none of torch, onnx, openvino"),
        (["--size", "0"], "--size must be at least 1, got 0"),
        (["--size", "big"], "invalid int value: 'big'"),
        (["--tolerance", "-1"], "--tolerance must be above 0, got -1.0"),
        (["--tolerance", "nan"], "--tolerance must be above 0, got nan"),
        (["--output", "absent/place/x"], "folder absent/place does not exist"),
        (["--output", "absent/"], "does not exist; make it first"),
        (["--output", "x.onnx"], "ends as another format than torch"),
        (["--images", "absent/*.jpg"], "absent/*.jpg is no file or folder"),
        (["--ema"], "--ema is for released checkpoints"),
    ],
)
def test_wrong_inputs(cotnet_command, resnet, words, message):
    before = sorted(resnet.parent.iterdir())
    status, out, err = cotnet_command("export", resnet, "--format", "torch", *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert sorted(resnet.parent.iterdir()) == before


def test_a_missing_package_names_its_extra(cotnet_command, resnet, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else found(name))
    status, _, err = cotnet_command("export", resnet, "--format", "openvino")
    assert status == 2
    assert "format openvino needs openvino; install it with: pip install 'cotnet[openvino]'" in err
