"""The weights that a run starts from: found and read in one way, and not taken for other classes than theirs."""

from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file

import cotnet  # noqa: F401 (registers the family)
from cotnet.classification import Classifier
from cotnet.detection import Detector
from cotnet.files.weights import write_weights
from cotnet.training.prepare import load_start
from cotnet.training.start import named_in_order, read_start
from tests.cards import CARD


def card(*names, **fields):
    return replace(CARD, class_names=list(names), **fields)


@pytest.fixture
def weights(tmp_path):
    """A trained classifier of three classes."""
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    write_weights(path, timm.create_model("cotnet_nano", num_classes=3).state_dict(), card("cat", "dog", "owl"))
    return path


def started(weights, *names, **options):
    torch.manual_seed(1)
    module = Classifier("cotnet_nano", num_classes=len(names), **options)
    module.card = card(*names)
    random = module.network.fc.weight.clone()
    load_start(module, str(weights))
    return module.network, random


def test_a_classifier_of_other_classes_is_new_unless_it_is_to_be_kept(weights, capsys):
    trained = read_start(str(weights), field="x").entries
    network, random = started(weights, "ash", "dog", "owl")
    assert torch.equal(network.fc.weight, random)
    assert torch.equal(network.conv1.weight, trained["conv1.weight"])
    assert "other classes ('cat' where the data has 'ash'): a new classifier is trained" in capsys.readouterr().out
    network, _ = started(weights, "ash", "dog", "owl", keep_classifier=True)
    assert torch.equal(network.fc.weight, trained["fc.weight"])
    network, _ = started(weights, "cat", "dog", "owl")
    assert torch.equal(network.fc.weight, trained["fc.weight"])


def test_the_same_classes_in_another_order_are_reordered(weights, capsys):
    trained = read_start(str(weights), field="x").entries
    network, _ = started(weights, "owl", "cat", "dog")
    assert torch.equal(network.fc.weight, trained["fc.weight"][[2, 0, 1]])
    assert torch.equal(network.fc.bias, trained["fc.bias"][[2, 0, 1]])
    assert "in another order" in capsys.readouterr().out


def test_weights_without_names_of_classes_keep_their_classifier(tmp_path):
    entries = timm.create_model("cotnet_nano", num_classes=3).state_dict()
    save_file(entries, tmp_path / "bare.safetensors")
    network, _ = started(tmp_path / "bare.safetensors", "ash", "dog", "owl")
    assert torch.equal(network.fc.weight, entries["fc.weight"])


def test_a_detector_of_other_classes_keeps_all_but_these(tmp_path, capsys):
    torch.manual_seed(0)
    options = {"detector": "mask_rcnn", "kwargs": {"channels": 32}, "norm": "group", "frozen": 0}
    before = Detector("cotnet18_half", num_classes=2, **options)
    entries = before.network.state_dict()
    describe = {"model": "cotnet18_half", "task": "detection"}
    write_weights(tmp_path / "weights.safetensors", entries, card("cell", "nucleus", **describe))
    for names, kept in ((("cell", "nucleus"), True), (("cell", "dust"), False)):
        module = Detector("cotnet18_half", num_classes=2, **options)
        module.card = card(*names, **describe)
        load_start(module, str(tmp_path / "weights.safetensors"))
        now = module.network.state_dict()
        same = {name for name in entries if torch.equal(entries[name], now[name])}
        assert ("roi_heads.box_predictor.cls_score.weight" in same) == kept
        assert ("roi_heads.mask_predictor.mask_fcn_logits.weight" in same) == kept
        assert {"roi_heads.box_head.5.weight", "rpn.head.bbox_pred.weight"} <= same
        assert all(name in same for name in entries if name.startswith("backbone."))


def test_entries_of_other_names_are_taken_in_order(tmp_path):
    """As a teacher's are: one way to read weights for both."""
    entries = timm.create_model("cotnet_nano", num_classes=5).state_dict()
    torch.save({f"other.{name}": value for name, value in entries.items()}, tmp_path / "other.pth")
    network, random = started(tmp_path / "other.pth", "ash", "dog", "owl")
    assert torch.equal(network.conv1.weight, entries["conv1.weight"])
    assert torch.equal(network.fc.weight, random)
    small = timm.create_model("cotnet20_nano", num_classes=3)
    assert named_in_order({"x": torch.zeros(1)}, small).keys() == {"x"}


def test_weights_are_found_inside_a_package(tmp_path, monkeypatch):
    (tmp_path / "some_weights" / "models").mkdir(parents=True)
    (tmp_path / "some_weights" / "__init__.py").touch()
    file = tmp_path / "some_weights" / "models" / "a.pth"
    torch.save({"a": torch.zeros(1)}, file)
    monkeypatch.syspath_prepend(tmp_path)
    assert read_start("some_weights/models/a.pth", field="f").path == file
    for name in ("some_weights/models/b.pth", "some_weights/../outside.pth", "nowhere/a.pth", "nowhere.pth"):
        (tmp_path / "outside.pth").touch()
        with pytest.raises(ValueError, match="is neither a file nor a file inside an installed package"):
            read_start(name, field="f")


def test_what_cannot_start_a_run_is_named(tmp_path):
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing")
    (tmp_path / "network.onnx").touch()
    for name, message in (("damaged.safetensors", "cannot be used"), ("network.onnx", "is an exported network")):
        with pytest.raises(ValueError, match=f"^model.init_from .*{name}' {message}"):
            read_start(str(tmp_path / name), field="model.init_from")


@pytest.mark.parametrize(
    ("base_lr", "init_from", "expected"), [(None, None, 0.3), (None, "w", 0.02), (0.1, None, 0.1), (0.1, "w", 0.1)]
)
def test_the_default_learning_rate_knows_how_the_run_begins(base_lr, init_from, expected):
    module = Classifier("cotnet_nano", num_classes=3, base_lr=base_lr, init_from=init_from)
    assert module.base_lr == expected
    other = "w" if init_from is None else None
    module.resumed_from(other)
    assert module.base_lr == (expected if base_lr else 0.02 if other else 0.3)
