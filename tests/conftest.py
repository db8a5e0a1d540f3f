"""Shared fixtures: the parity tensors, data sets outside the repository, a tiny trained network and images for it."""

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open

import cotnet  # noqa: F401  (registers the family)
from cotnet.files.weights import write_weights
from tests.cards import CARD

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores
    torch.set_num_threads(1)

PARITY = Path(__file__).parent / "parity"
DATA_VARIABLE = "COTNET_TEST_DATA"


@pytest.fixture(scope="session")
def parity_weights() -> ModuleType:
    """`fill(name, shape)` and `image(batch, size, seed)` of the parity data."""
    spec = importlib.util.spec_from_file_location("parity_weights", PARITY / "weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def official_entries() -> dict[str, dict[str, list[int]]]:
    """Entry name to shape, for each of the ten released models."""
    return json.loads((PARITY / "state_dict_entries.json").read_text())


class Parity:
    """A safetensors file of expected tensors with its cases."""

    def __init__(self, path: Path):
        self.file = safe_open(path, "pt")
        self.names = list(self.file.keys())
        self.cases: dict[str, dict[str, Any]] = json.loads(self.file.metadata()["cases"])

    def tensors(self, case: str) -> dict[str, Any]:
        """The tensors of one case by their short names."""
        prefix = case + "/"
        return {k.removeprefix(prefix): self.file.get_tensor(k) for k in self.names if k.startswith(prefix)}


@pytest.fixture(scope="session")
def layer_parity() -> Parity:
    return Parity(PARITY / "layers.safetensors")


@pytest.fixture(scope="session")
def model_parity() -> Parity:
    return Parity(PARITY / "models.safetensors")


@pytest.fixture(scope="session")
def data_file():
    """From a file's name to its path in the folder that COTNET_TEST_DATA names; skips the test where it is missing."""

    def find(name: str) -> Path:
        folder = os.environ.get(DATA_VARIABLE)
        if not folder:
            pytest.skip(f"needs {name}: set {DATA_VARIABLE} to the folder that holds it")
        path = Path(folder) / name
        if not path.exists():
            pytest.skip(f"{path} does not exist; {DATA_VARIABLE} should name the folder that holds it")
        return path

    return find


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
