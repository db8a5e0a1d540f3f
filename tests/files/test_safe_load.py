"""Checkpoints of training scripts: tensors and settings are read, nothing is run, and refusals say why."""

import argparse
import io
import os
import pathlib
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from cotnet.files.safe_load import load_tensors, settings_of

WEIGHTS = {"fc.weight": torch.arange(6.0).view(2, 3)}


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hacked",)


@pytest.mark.parametrize("legacy", [False, True])
def test_settings_and_scores_beside_weights(tmp_path, legacy):
    path = tmp_path / "model.pth.tar"
    args = argparse.Namespace(model="cotnet50", lr=0.1, output=pathlib.Path("x") if not legacy else "x")
    content = {"state_dict": WEIGHTS, "args": args, "metric": np.float64(81.3)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    read = load_tensors(path)
    assert torch.equal(read["state_dict"]["fc.weight"], WEIGHTS["fc.weight"])
    assert settings_of(read["args"])["model"] == "cotnet50"
    assert settings_of({"arch": 1}) == {"arch": 1}
    assert settings_of("resnet50") == {}


def test_settings_of_a_class_that_is_not_installed(tmp_path, monkeypatch):
    module = types.ModuleType("yacs.config")
    module.CfgNode = type("CfgNode", (dict,), {"__module__": "yacs.config", "__qualname__": "CfgNode"})
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    torch.save({"model": WEIGHTS, "cfg": module.CfgNode(arch="cotnet50")}, tmp_path / "a.pth")
    monkeypatch.undo()
    read = load_tensors(tmp_path / "a.pth")
    assert isinstance(read["cfg"], OrderedDict)
    assert settings_of(read["cfg"]) == {"arch": "cotnet50"}


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_is_run(tmp_path, monkeypatch, legacy):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": WEIGHTS, "extra": Hostile()}, "a.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match=r"asks for \w+\.system, which no checkpoint of weights needs"):
        load_tensors(tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(ValueError, match="could run code"):
        load_tensors(tmp_path / "b.pth")
    assert sorted(os.listdir(tmp_path)) == ["a.pth", "b.pth"]


def test_a_whole_module_is_refused_by_name(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"whole object of torch.nn.modules.linear.Linear; save the state_dict\(\)"):
        load_tensors(tmp_path / "a.pt")


def test_an_archive_that_unpacks_to_more_than_its_size_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10**6))
    with pytest.raises(ValueError, match="unpacks to more than its own size"):
        load_tensors(tmp_path / "a.pth")


@pytest.mark.parametrize("cut", [0, 10, 500])
def test_a_truncated_file_is_named(tmp_path, cut):
    content = io.BytesIO()
    torch.save(WEIGHTS, content)
    (tmp_path / "a.pth").write_bytes(content.getvalue()[:cut])
    with pytest.raises(ValueError, match=r"a\.pth: it is (empty|truncated)"):
        load_tensors(tmp_path / "a.pth")


def test_threads_load_at_once(tmp_path):
    torch.save({"state_dict": WEIGHTS, "args": argparse.Namespace(model="cotnet50")}, tmp_path / "a.pth")
    before = torch.serialization.get_safe_globals()
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(load_tensors, [tmp_path / "a.pth"] * 160))
    assert all(torch.equal(one["state_dict"]["fc.weight"], WEIGHTS["fc.weight"]) for one in read)
    assert torch.serialization.get_safe_globals() == before


def test_mapped_tensors_are_the_same(tmp_path):
    torch.save({"state_dict": WEIGHTS}, tmp_path / "a.pth")
    assert torch.equal(load_tensors(tmp_path / "a.pth", mapped=True)["state_dict"]["fc.weight"], WEIGHTS["fc.weight"])


@pytest.mark.parametrize(
    "content",
    [
        b"cposix\nsystem\n(S'touch owned'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c__builtin__\ngetattr\n(S'1'\ntR.",
        b"ctorch\nload\n(S'x'\ntR.",
        b"ctorch.hub\nload\n(S'x'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cpickle\nloads\n(S'x'\ntR.",
        b"csubprocess\nPopen\n(S'ls'\ntR.",
        # attributes of what builds tensors and settings
        b"ctorch._utils\n_rebuild_tensor_v2\n}S'__call__'\nNsb.",
        b"ccollections\nOrderedDict\nN}S'items'\nNs\x86b.",
        b"cargparse\nNamespace\nN}S'__init__'\nNs\x86b.",
        b"ctorch\nFloatStorage\nN}S'dtype'\nNs\x86b.",
    ],
)
def test_no_pickle_calls_or_changes_anything(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("x.pth", "w") as archive:
        archive.writestr("a/data.pkl", content)
        archive.writestr("a/version", "3\n")
    with pytest.raises(ValueError, match=r"x\.pth"):
        load_tensors(tmp_path / "x.pth")
    assert not (tmp_path / "owned").exists()
    torch.save({"a": WEIGHTS}, tmp_path / "good.pth")
    assert torch.equal(load_tensors(tmp_path / "good.pth")["a"]["fc.weight"], WEIGHTS["fc.weight"])
