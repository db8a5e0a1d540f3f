"""Weights files of unknown origin: each is a network that works, or one message."""

import dataclasses
import warnings

import pytest
import timm
import torch

from cotnet.classification.load import load_network
from cotnet.files.weights import write_weights
from tests.cards import CARD


@pytest.fixture(scope="module")
def entries():
    return timm.create_model("cotnet_nano", num_classes=3).state_dict()


def test_a_weights_file_gives_its_network(tmp_path, entries):
    path = tmp_path / "w.safetensors"
    write_weights(path, entries, CARD)
    network, card = load_network(path)
    assert card == CARD
    assert not network.training
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "hf-hub:timm/resnet18.a1_in1k"}, "unknown model"),
        ({"model": "cotnet_nan"}, "did you mean cotnet_nano"),
        ({"model": "cotnet18"}, "does not fit cotnet18"),
        ({"kwargs": {"checkpoint_path": "/etc/passwd"}}, "may not include checkpoint_path"),
        ({"kwargs": {"pretrained": True}}, "may not include pretrained"),
        ({"kwargs": {"no_such": 1}}, "cannot be built"),
        ({"kwargs": {"in_chans": 1}}, "does not fit cotnet_nano: .*conv1"),
        ({"class_names": ["cat", "dog"]}, r"does not fit cotnet_nano: .*fc\."),
        ({"preprocessing": {**CARD.preprocessing, "interpolation": "magic"}}, "interpolation must be one of"),
        ({"preprocessing": {**CARD.preprocessing, "crop_pct": 0}}, "crop_pct must be above 0"),
        ({"preprocessing": {**CARD.preprocessing, "crop_pct": float("nan")}}, "crop_pct must be above 0"),
        ({"preprocessing": {**CARD.preprocessing, "std": [0.5, 0, 0.5]}}, "std above 0"),
        (
            {"preprocessing": {**CARD.preprocessing, "input_size": [1, 32, 32], "mean": [0.5], "std": [0.5]}},
            "takes 1 channels",
        ),
    ],
)
def test_a_strange_description_is_refused(tmp_path, entries, changes, message):
    path = tmp_path / "w.safetensors"
    write_weights(path, entries, dataclasses.replace(CARD, **changes))
    with pytest.raises(ValueError, match=message) as caught:
        load_network(path)
    assert str(path) in str(caught.value)


def test_diverged_weights_are_named(tmp_path, entries):
    path = tmp_path / "w.safetensors"
    write_weights(path, {**entries, "fc.bias": torch.full((3,), torch.nan)}, CARD)
    with pytest.raises(ValueError, match=r"fc\.bias"):
        load_network(path)


def test_a_run_folder_and_ema_of_a_run(tmp_path, entries):
    write_weights(tmp_path / "weights.safetensors", entries, CARD)
    with pytest.raises(ValueError, match=r"weights\.safetensors"):
        load_network(tmp_path)
    with pytest.raises(ValueError, match="released checkpoints"):
        load_network(tmp_path / "weights.safetensors", ema=True)


def test_any_network_of_timm(tmp_path):
    """One whose classifier has another name than ours."""
    path = tmp_path / "w.safetensors"
    entries = timm.create_model("convnext_atto", num_classes=3).state_dict()
    write_weights(path, entries, dataclasses.replace(CARD, model="convnext_atto"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network, _ = load_network(path)
    torch.testing.assert_close(dict(network.state_dict()), dict(entries), rtol=0, atol=0)
