"""A network of bytes is saved as weights with a card, and used like any other."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import cotnet
from cotnet.quantization.saved import save_quantized
from tests.cards import CARD
from tests.quantization.test_quantize import images, trained


@pytest.fixture
def saved(tmp_path):
    model = trained("cotnet_nano")
    quantized = cotnet.quantize(model, images(), largest_noise=1.0)
    card = replace(CARD, model="cotnet_nano", class_names=[f"class {i}" for i in range(10)])
    save_quantized(tmp_path / "int8.safetensors", quantized, card)
    return tmp_path / "int8.safetensors", quantized


def test_a_saved_network_answers_the_same(saved, tmp_path):
    path, quantized = saved
    loaded = cotnet.load(path)
    with torch.no_grad():
        assert torch.equal(loaded.network(images(4)), quantized(images(4)))
    assert path.stat().st_size < 0.4 * 4 * sum(p.numel() for p in trained("cotnet_nano").parameters())
    Image.new("RGB", (50, 40), "red").save(tmp_path / "red.png")
    [result] = cotnet.predict(path, str(tmp_path / "red.png"), num_workers=0)
    assert result.error is None
    assert len(result.probabilities) == 5


def test_the_card_says_what_is_in_floats(saved):
    path, quantized = saved
    with safe_open(path, framework="pt") as file:
        card = json.loads(file.metadata()["cotnet"])
    assert card["quantization"] == quantized.report.to_plain()


def test_a_network_in_floats_is_not_saved_so(tmp_path):
    with pytest.raises(ValueError, match="has made, got a ResidualNet"):
        save_quantized(tmp_path / "a.safetensors", trained("cotnet_nano"), CARD)


def test_a_damaged_card_and_other_entries_are_refused(saved, tmp_path):
    path, _ = saved
    with safe_open(path, framework="pt") as file:
        card = json.loads(file.metadata()["cotnet"])
    entries = load_file(path)

    def refused(card, entries):
        save_file(entries, tmp_path / "other.safetensors", metadata={"cotnet": json.dumps(card)})
        with pytest.raises(ValueError, match=r"other\.safetensors"):
            cotnet.load(tmp_path / "other.safetensors")

    refused(card | {"quantization": {"observer": 3}}, entries)
    refused(card | {"quantization": card["quantization"] | {"images": "many"}}, entries)
    refused(card, dict(list(entries.items())[1:]))
