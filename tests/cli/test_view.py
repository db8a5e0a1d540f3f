"""`cotnet view`: sheets for a person, one line for a mistake."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from cotnet.cli.main import main
from cotnet.files.weights import WeightsCard, read_weights, write_weights


def weights_file(folder, model="cotnet_nano", **kwargs):
    torch.manual_seed(0)
    network = timm.create_model(model, num_classes=4, **kwargs)
    preprocessing = {"input_size": [3, 24, 24], "mean": [0.5] * 3, "std": [0.25] * 3}
    preprocessing |= {"interpolation": "bicubic", "crop_pct": 1.0}
    card = WeightsCard(model=model, class_names=list("abcd"), preprocessing=preprocessing, kwargs=kwargs)
    path = folder / f"{model}.safetensors"
    write_weights(path, network.state_dict(), card)
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("view")
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "one.png")
    return folder, weights_file(folder), str(folder / "one.png")


def sheets(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_sheets_of_an_image(files, tmp_path, capsys):
    _, weights, image = files
    assert main(["view", weights, image, "--output", str(tmp_path / "v")]) == 0
    made = sheets(tmp_path / "v")
    assert [name for name in made if "grad" not in name] == [
        "one/contexts.png",
        *(f"one/field-layer{block}.png" for block in ("1.1", "2.1", "3.2")),
    ]
    for name in made:
        with Image.open(tmp_path / "v" / name) as sheet:
            assert sheet.width > 500
            assert np.asarray(sheet.convert("L")).std() > 10
    out = capsys.readouterr().out
    assert out.count("% dynamic") == 7
    assert "layer3.2 (res4): entropy 0." in out


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (["--stages", "res4"], ["3.2"]),
        (["--layers", "layer1.0,layer2", "--heads", "0"], ["1.0", "2.0", "2.1"]),
    ],
)
def test_chosen_layers(files, tmp_path, words, fields):
    _, weights, image = files
    assert main(["view", weights, image, "--output", str(tmp_path), *words]) == 0
    assert [name for name in sheets(tmp_path) if "field" in name] == [f"one/field-layer{f}.png" for f in fields]


def test_a_network_without_cot_says_so(files, tmp_path, capsys):
    pytest.importorskip("captum")
    folder, _, image = files
    assert main(["view", weights_file(folder, "resnet10t"), image, "--output", str(tmp_path)]) == 0
    assert sheets(tmp_path) == ["one/grad-cam.png"]
    assert "resnet10t as trained has no CoT layer and so no weight field" in capsys.readouterr().out
    assert main(["view", str(folder / "resnet10t.safetensors"), image, "--stages", "res4"]) == 2


def test_without_captum_the_rest_is_drawn(files, tmp_path, capsys, monkeypatch):
    _, weights, image = files
    monkeypatch.setitem(sys.modules, "captum", None)
    assert main(["view", weights, image, "--output", str(tmp_path), "--stages", "res4"]) == 0
    assert sheets(tmp_path) == ["one/contexts.png", "one/field-layer3.2.png"]
    assert "pip install 'cotnet[view]'" in capsys.readouterr().out


def test_every_image_has_a_folder_whatever_the_names(files, tmp_path, monkeypatch):
    _, weights, image = files
    monkeypatch.setitem(sys.modules, "captum", None)
    names = ["p/a.png", "q/a.png", "r/a-2.png", "s/a.tif", "t/A.png"]
    for name in names:
        (tmp_path / name).parent.mkdir()
        shutil.copy(image, tmp_path / name)
    words = [str(tmp_path / name) for name in names]
    assert main(["view", weights, *words, "--stages", "res4", "--output", str(tmp_path / "v")]) == 0
    made = {name.partition("/")[0] for name in sheets(tmp_path / "v")}
    assert made == {"a", "a-2", "a-2-2", "a-3", "A-4"}


def test_an_unreadable_image_among_others(files, tmp_path, capsys):
    _, weights, image = files
    (tmp_path / "one.png").write_bytes(b"no image")
    words = ["view", weights, str(tmp_path / "one.png"), image, "--stages", "res4", "--output", str(tmp_path / "v")]
    assert main(words) == 2
    assert f"cannot read the image {tmp_path / 'one.png'}: it is not an image" in capsys.readouterr().err
    assert {name.partition("/")[0] for name in sheets(tmp_path / "v")} == {"one-2"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stages", "res9"], "no CoT layer in 'res9'; there are some in res2, res3, res4"),
        (["--layers", "layer3.7"], "no CoT layer in 'layer3.7'; there are some in layer1.0, layer1.1, layer2.0"),
        (["--heads", "4"], "layer1.1 has heads 0 to 3, got 4"),
        (["--heads", "a"], "--heads must be whole numbers"),
        (["--heads", "-1"], "--heads must be whole numbers"),
        (["--stages", ","], "--stages must be a list"),
        (["--stages", "res4", "--layers", "all"], "either --stages or --layers"),
        (["--topk", "0"], "--topk must be at least 1"),
        (["--topp", "3"], "did you mean --topk?"),
        (["--model", "cotnet50"], "leave --model out"),
    ],
)
def test_wrong_choices_make_nothing(files, tmp_path, capsys, words, message):
    _, weights, image = files
    assert main(["view", weights, image, "--output", str(tmp_path / "v"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "v").exists()


def test_a_detector_is_refused(files, tmp_path, capsys):
    _, weights, image = files
    entries, card = read_weights(Path(weights))
    write_weights(tmp_path / "d.safetensors", entries, replace(card, task="detection"))
    assert main(["view", str(tmp_path / "d.safetensors"), image]) == 2
    assert "is for detection; cotnet view shows classifiers" in capsys.readouterr().err


def test_missing_files(files, tmp_path, capsys):
    folder, weights, image = files
    for words in ([weights, "nowhere.png"], [str(folder / "none.safetensors"), image]):
        assert main(["view", *words, "--output", str(tmp_path / "v")]) == 2
    assert main(["view", weights, image, "--output", image]) == 2
    assert "is a file; name a folder" in capsys.readouterr().err
    assert not (tmp_path / "v").exists()
