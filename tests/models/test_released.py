"""Released checkpoints: what loads, and what is refused with a plain word."""

import argparse
import os
import pickle
import sys
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

import cotnet
from cotnet.files.weights import write_weights
from cotnet.models import load_entries
from cotnet.models.weights_file import open_weights
from tests.cards import CARD
from tests.conftest import PARITY

RELEASED = PARITY / "official_layout.pth.tar"


@pytest.mark.parametrize(("ema", "prefix"), [(False, "raw."), (True, "ema.")])
def test_released_layout(ema, prefix, parity_weights):
    entries = cotnet.load_official(RELEASED, ema=ema)
    layer = cotnet.CoTLayer(32)
    layer.load_state_dict(entries, strict=True)
    for name, value in cotnet.to_official(entries).items():
        assert np.array_equal(value.numpy(), parity_weights.fill(prefix + name, tuple(value.shape))), name
    assert "yacs" not in sys.modules


def test_bare_state_dict_and_module_prefix(tmp_path):
    layer = cotnet.CoTLayer(16)
    entries = cotnet.to_official(layer.state_dict())
    for content in (entries, {"state_dict": {f"module.{k}": v for k, v in entries.items()}}):
        torch.save(content, tmp_path / "x.pth")
        assert cotnet.load_official(tmp_path / "x.pth").keys() == layer.state_dict().keys()


class Hostile:
    """Runs a command when unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def damaged(folder):
    """Bad files, by what the message must say of each."""
    raw = RELEASED.read_bytes()
    files = {
        "truncated": raw[: len(raw) // 2],
        "empty": b"",
        "web page": b"<!DOCTYPE html><html></html>",
        "archive": b"\x1f\x8b" + bytes(200),
        "damaged": b"\x00hello world" * 9,
        "text file": b"hello world\n" * 9,
        "safetensors file": safetensors.torch.save({"a": torch.ones(1)}),
    }
    for words, content in files.items():
        path = folder / words
        path.write_bytes(content)
        yield path, words
    with zipfile.ZipFile(folder / "zip", "w") as archive:
        archive.writestr("a.txt", "x")
    yield folder / "zip", "archive"
    with zipfile.ZipFile(folder / "script", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "version"):
            archive.writestr(f"script/{name}", b"3")
    yield folder / "script", "TorchScript"
    for name, content, words in (
        ("list", [1, 2], "holds a list"),
        ("number", {"state_dict": {"a": 3}}, "'a' is not a named tensor"),
        ("nothing", {"state_dict": {}}, "no weights under state_dict"),
        ("hostile", {"state_dict": {"a": Hostile(folder / "owned")}}, "system.*do not trust"),
        ("module", torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
    ):
        torch.save(content, folder / name)
        yield folder / name, words
    (folder / "pickle").write_bytes(pickle.dumps({"a": Hostile(folder / "owned")}))
    yield folder / "pickle", "is a pickle of something else"
    torch.save({"state_dict": {}}, folder / "legacy", _use_new_zipfile_serialization=False)
    (folder / "legacy").write_bytes((folder / "legacy").read_bytes()[:40])
    yield folder / "legacy", "damaged"
    with zipfile.ZipFile(folder / "bomb", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(1 << 20))
    yield folder / "bomb", "unpacks to more than its own size"
    yield folder, "is a folder"


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_bad_files_are_named_and_never_run(tmp_path):
    for path, words in damaged(tmp_path):
        with pytest.raises(ValueError, match=words) as error:
            cotnet.load_official(path)
        assert str(path) in str(error.value)
    assert not (tmp_path / "owned").exists()


def test_missing_file_and_missing_average(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        cotnet.load_official(tmp_path / "absent.pth.tar")
    torch.save({"state_dict": {"a": torch.ones(1)}}, tmp_path / "plain.pth")
    with pytest.raises(ValueError, match="no averaged weights"):
        cotnet.load_official(tmp_path / "plain.pth", ema=True)
    torch.save({"state_dict": {"a": torch.ones(1)}, "state_dict_ema": None}, tmp_path / "none.pth")
    with pytest.raises(ValueError, match="no weights under state_dict_ema"):
        cotnet.load_official(tmp_path / "none.pth", ema=True)


@pytest.fixture
def released(tmp_path):
    """A nano network of five classes in the released layout."""
    model = timm.create_model("cotnet_nano", num_classes=5)
    path = tmp_path / "nano.pth.tar"
    torch.save({"state_dict": cotnet.to_official(model.state_dict())}, path)
    return model, path


def test_pretrained_from_a_file(released):
    model, path = released
    overlay = {"file": str(path)}
    loaded = timm.create_model("cotnet_nano", pretrained=True, pretrained_cfg_overlay=overlay)
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
    with pytest.warns(UserWarning, match="5 classes, the model 7"):
        other = timm.create_model("cotnet_nano", pretrained=True, num_classes=7, pretrained_cfg_overlay=overlay)
    assert torch.equal(other.layer2[0].conv1.weight, model.layer2[0].conv1.weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features = timm.create_model(
            "cotnet_nano", pretrained=True, features_only=True, in_chans=1, pretrained_cfg_overlay=overlay
        )
    torch.testing.assert_close(features.conv1.weight, model.conv1.weight.sum(1, keepdim=True))


def test_pretrained_from_a_damaged_safetensors_file(tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"cut\.safetensors' is damaged or no safetensors file"):
        timm.create_model(
            "cotnet_nano", pretrained=True, pretrained_cfg_overlay={"file": str(tmp_path / "cut.safetensors")}
        )


@pytest.mark.filterwarnings("ignore:the weights classify")
@pytest.mark.parametrize("num_classes", [5, 7])
def test_weights_of_another_model_are_refused(released, num_classes):
    overlay = {"file": str(released[1])}
    with pytest.raises(ValueError, match="another model"):
        timm.create_model("cotnet18", pretrained=True, num_classes=num_classes, pretrained_cfg_overlay=overlay)


def test_pretrained_without_a_file_is_never_random():
    with pytest.raises(RuntimeError, match=r"by hand.*load_official"):
        timm.create_model("cotnet50", pretrained=True)


def test_load_entries_drops_another_classifier(released):
    model, path = released
    other = timm.create_model("cotnet_nano", num_classes=3)
    with pytest.warns(UserWarning, match="5 classes, the model 3"):
        load_entries(other, cotnet.load_official(path))
    assert torch.equal(other.layer3[1].mixer.value.conv.weight, model.layer3[1].mixer.value.conv.weight)
    with pytest.raises(ValueError, match="another model"):
        load_entries(timm.create_model("cotnet18"), cotnet.load_official(path))


def wrapped(entries, prefix):
    return {f"{prefix}{name}": value for name, value in entries.items()}


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model."])
@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "net", "model", "model_ema", None])
def test_what_training_scripts_write(released, tmp_path, prefix, key):
    """Containers and prefixes of timm's, torchvision's and Lightning's scripts, with their settings and scores."""
    model, _ = released
    entries = wrapped(model.state_dict(), prefix)
    if key == "model_ema":
        entries["n_averaged"] = torch.tensor(3)
    settings = {"args": argparse.Namespace(model="cotnet_nano", lr=0.1, out=Path("x")), "metric": np.float64(0.5)}
    path = tmp_path / "checkpoint.pth"
    torch.save(entries if key is None else {"epoch": 3, key: entries, **settings}, path)
    loaded = cotnet.load_official(path, ema=key == "model_ema")
    assert loaded.keys() == model.state_dict().keys()
    found = open_weights(path, ema=key == "model_ema")
    assert found.model == (None if key is None else "cotnet_nano")


def test_a_lightning_checkpoint_of_another_module(released, tmp_path):
    """The network is one attribute among others, of any name."""
    model, _ = released
    content = {**wrapped(model.state_dict(), "encoder."), "criterion.weight": torch.ones(5)}
    torch.save(
        {"pytorch-lightning_version": "2", "state_dict": content, "hyper_parameters": {"lr": 1}}, tmp_path / "x.ckpt"
    )
    other = timm.create_model("cotnet_nano", num_classes=5)
    load_entries(other, cotnet.load_official(tmp_path / "x.ckpt"))
    assert torch.equal(other.fc.weight, model.fc.weight)


def test_another_model_is_refused_by_a_name_found_and_one_expected(tmp_path):
    torch.save({"features.0.weight": torch.ones(3)}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"another model: conv1\.weight is missing, there is features\.0\.weight"):
        load_entries(timm.create_model("cotnet_nano"), cotnet.load_official(tmp_path / "x.pth"))


def test_threads_load_at_once():
    before = torch.serialization.get_safe_globals()
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda _: cotnet.load_official(RELEASED), range(64)))
    assert all(one.keys() == loaded[0].keys() for one in loaded)
    assert torch.serialization.get_safe_globals() == before


def test_a_folder_of_timm(released, tmp_path):
    """As timm's `save_for_hf` writes it: by timm itself and as a weights file."""
    model, _ = released
    timm.models.save_for_hf(
        model, tmp_path / "hf", model_config={"label_names": list("abcde")}, safe_serialization=True
    )
    loaded = timm.create_model(f"local-dir:{tmp_path / 'hf'}", pretrained=True)
    assert torch.equal(loaded.fc.weight, model.fc.weight)
    for path in (tmp_path / "hf", tmp_path / "hf" / "model.safetensors"):
        file = open_weights(path)
        assert (file.model, file.class_names) == ("cotnet_nano", list("abcde"))
        assert file.preprocessing["input_size"] == [3, 64, 64]


def test_a_run_s_preprocessing_is_timm_s_configuration(tmp_path):
    model = timm.create_model("cotnet_nano", num_classes=3)
    write_weights(tmp_path / "w.safetensors", model.state_dict(), CARD)
    overlay = {"file": str(tmp_path / "w.safetensors")}
    loaded = timm.create_model("cotnet_nano", pretrained=True, num_classes=3, pretrained_cfg_overlay=overlay)
    config = timm.data.resolve_model_data_config(loaded)
    for key in ("input_size", "mean", "std", "interpolation", "crop_pct"):
        expected = CARD.preprocessing[key]
        assert config[key] == (tuple(expected) if isinstance(expected, list) else expected), key
    overlay["interpolation"] = "bicubic"
    other = timm.create_model("cotnet_nano", pretrained=True, num_classes=3, pretrained_cfg_overlay=overlay)
    assert timm.data.resolve_model_data_config(other)["interpolation"] == "bicubic"
