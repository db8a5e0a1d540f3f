"""What a hostile file of `torch.save` can ask for, and what becomes of it."""

import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import pytest
import torch

from cotnet.files.safe_load import load_tensors


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def save_pickle(path, content):
    """A zip as torch's, around any pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", content)
        archive.writestr("a/version", "3\n")
    return path


@pytest.mark.parametrize("new", [True, False])
def test_tensors_and_plain_values_come_back(tmp_path, new):
    base = torch.arange(12.0)
    content = {
        "shared": [base[2:8], base.view(3, 4).t()],
        "kinds": [torch.ones(2, dtype=kind) for kind in (torch.bfloat16, torch.float16, torch.int64, torch.bool)],
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(3.5, dtype=torch.float64),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "plain": [1, 2.5, "x", None, True, (1, 2), {3}, b"bytes", OrderedDict(a=1)],
        "dtype": torch.float16,
        "size": torch.Size([1, 2]),
    }
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    loaded = load_tensors(tmp_path / "x.pth")
    expected = torch.load(tmp_path / "x.pth", weights_only=False)
    assert loaded["plain"] == expected["plain"]
    assert loaded["dtype"] is torch.float16
    for key in ("shared", "kinds"):
        for one, other in zip(loaded[key], expected[key], strict=True):
            assert torch.equal(one, other)
            assert (one.dtype, one.stride()) == (other.dtype, other.stride())
    assert torch.equal(loaded["parameter"], torch.ones(2))
    assert loaded["empty"].shape == (0, 3)
    loaded["shared"][0][0] = 100  # views of one storage stay views
    assert loaded["shared"][1][2, 0] == 100


@pytest.mark.parametrize(
    "content",
    [
        b"cposix\nsystem\n(S'touch owned'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c__builtin__\ngetattr\n(S'1'\ntR.",
        b"ctorch\nload\n(S'x'\ntR.",
        b"ctorch.hub\nload\n(S'x'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.testing._private.utils\nrunstring\n(S'1'\ntR.",
        b"cpickle\nloads\n(S'x'\ntR.",
        b"csubprocess\nPopen\n(S'ls'\ntR.",
        # attributes of what builds the tensors
        b"ctorch._utils\n_rebuild_tensor_v2\n}S'__call__'\nNsb.",
        b"ctorch._utils\n_rebuild_tensor_v2\nN}S'_function'\nNs\x86b.",
        b"ccollections\nOrderedDict\nN}S'items'\nNs\x86b.",
        b"cargparse\nNamespace\nN}S'__init__'\nNs\x86b.",
        b"ctorch\nFloatStorage\nN}S'dtype'\nNs\x86b.",
    ],
)
def test_nothing_is_called_and_nothing_changed(tmp_path, content):
    path = save_pickle(tmp_path / "x.pth", content)
    with pytest.raises(ValueError, match=r"x\.pth"):
        load_tensors(path)
    torch.save({"a": torch.ones(2)}, tmp_path / "good.pth")
    assert torch.equal(load_tensors(tmp_path / "good.pth")["a"], torch.ones(2))
    assert not os.path.exists("owned")


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [((9,), (1,), 0), ((2, 2), (4, 1), 0), ((2,), (1,), 3), ((2,), (1,), -1), ((2,), (-1,), 1)],
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, size, stride, offset):
    """torch would enlarge the storage by memory of anything."""
    torch.save(torch.ones(4), tmp_path / "x.pth")
    assert load_tensors(tmp_path / "x.pth").shape == (4,)
    with zipfile.ZipFile(tmp_path / "x.pth") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    [name] = [name for name in parts if name.endswith("data.pkl")]
    reference = (
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0"
        b"0X\x03\0\0\0cpuK\x04tQ"
    )
    flat = b"".join(pickle.dumps(one, protocol=2)[2:-1] for one in (offset, size, stride))
    parts[name] = b"\x80\x02" + reference + flat + b"\x89ccollections\nOrderedDict\n)RtR."
    with zipfile.ZipFile(tmp_path / "y.pth", "w") as archive:
        for part, content in parts.items():
            archive.writestr(part, content)
    with pytest.raises(ValueError, match="one of its tensors"):
        load_tensors(tmp_path / "y.pth")


def test_a_storage_larger_than_the_file_is_refused(tmp_path):
    torch.save({"a": torch.ones(4)}, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "x.pth").read_bytes()
    assert content.count(b"K\x04") >= 1
    (tmp_path / "y.pth").write_bytes(content.replace(b"K\x04N", b"J" + struct.pack("<i", 2**30) + b"N"))
    with pytest.raises(ValueError, match="one of its storages is larger than the file"):
        load_tensors(tmp_path / "y.pth")


def test_damage_is_noticed(tmp_path):
    torch.save({"a": torch.ones(1000)}, tmp_path / "x.pth")
    content = bytearray((tmp_path / "x.pth").read_bytes())
    content[content.index(b"\0\0\x80\x3f" * 50) + 40] ^= 1
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"it is damaged, or holds more than weights \(BadZipFile\)"):
        load_tensors(tmp_path / "x.pth")


def test_a_whole_module_is_named(tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"whole object of torch.nn.modules.linear.Linear; save the state_dict\(\)"):
        load_tensors(tmp_path / "x.pth")
