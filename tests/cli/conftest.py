"""A tiny network and images to use it on."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import cotnet  # noqa: F401  (registers the family)
from cotnet.cli import main
from cotnet.files.weights import WeightsCard, write_weights

CARD = WeightsCard(
    model="cotnet_nano",
    class_names=["cat", "dog", "owl"],
    preprocessing={
        "input_size": [3, 32, 32],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "interpolation": "bilinear",
        "crop_pct": 1.0,
    },
)


@pytest.fixture
def weights(tmp_path):
    """A weights file of three classes."""
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    write_weights(path, timm.create_model("cotnet_nano", num_classes=3).state_dict(), CARD)
    return path


@pytest.fixture
def images(tmp_path):
    """`val/<class>/<number>.png` for three classes."""
    generator = np.random.default_rng(0)
    for name in CARD.class_names:
        folder = tmp_path / "set" / "val" / name
        folder.mkdir(parents=True)
        for i in range(2):
            Image.fromarray(generator.integers(0, 255, (40, 48, 3), np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "set"


@pytest.fixture
def cotnet_command(capfd):
    """Runs `cotnet ...` in this process and gives exit status, standard output and standard error."""

    def run(*words):
        status = main([str(word) for word in words])
        return status, *capfd.readouterr()

    return run
