import io

import numpy as np
import pytest
from PIL import Image

from cotnet.data import NpzPack


def encoded(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def arrays(count: int = 4) -> dict[str, np.ndarray]:
    files = [encoded(seed) for seed in range(count)]
    split = {
        "jpeg": np.frombuffer(b"".join(files), np.uint8),
        "offset": np.cumsum([0, *map(len, files)]),
        "label": np.arange(count) % 2,
    }
    both = {f"{name}_{part}": value for name in ("train", "test") for part, value in split.items()}
    return {**both, "classes": np.array(["ash", "birch"])}


def pack(tmp_path, **changes) -> NpzPack:
    kept = {name: value for name, value in {**arrays(), **changes}.items() if value is not None}
    np.savez(tmp_path / "pack.npz", **kept)
    return NpzPack(str(tmp_path / "pack.npz"), size=16, batch_size=2, num_workers=0)


def test_serves_every_image(tmp_path):
    data = pack(tmp_path)
    data.setup()
    assert data.class_names == ["ash", "birch"]
    assert sorted(int(label) for _, labels in data.val_dataloader() for label in labels) == [0, 0, 1, 1]


def test_loads_in_worker_processes(tmp_path):
    data = pack(tmp_path)
    data.num_workers = 1
    data.setup()
    assert sum(len(labels) for _, labels in data.train_dataloader()) == 4


def test_two_synsets_of_one_word_are_told_apart(tmp_path):
    data = pack(tmp_path, classes=None, names=np.array(["crane", "crane"]), wnids=np.array(["n1", "n2"]))
    assert data.class_names == ["crane (n1)", "crane (n2)"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_label": None}, "lacks 'train_label'"),
        ({"classes": None}, "lacks class names"),
        ({"classes": np.array(["ash", "ash"])}, "two classes named 'ash'"),
        ({"classes": np.array([["ash", "birch"]])}, r"'classes' must hold names in one dimension, got shape \(1, 2\)"),
        ({"classes": np.array([], dtype=str)}, r"'classes' must hold names in one dimension, got shape \(0,\)"),
        ({"train_label": np.array([0, 1, 0, 2])}, "unknown class 2 at 3; there are 2 classes"),
        ({"train_offset": np.array([0, 5, 3, 9, 12])}, "offset must rise"),
        ({"train_offset": np.array([0, 5])}, "one number more than there are labels"),
        ({"train_jpeg": np.zeros(3)}, "jpeg must be uint8"),
    ],
)
def test_an_inconsistent_pack_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        pack(tmp_path, **changes).setup()


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "pack.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read .*pack\.npz"):
        NpzPack(str(tmp_path / "pack.npz")).setup()


def test_a_single_array_is_refused(tmp_path):
    with (tmp_path / "pack.npz").open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ValueError, match=r"no \.npz file at all"):
        NpzPack(str(tmp_path / "pack.npz")).setup()


def test_pickled_objects_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot read"):
        pack(tmp_path, classes=np.array([{"a": 1}], dtype=object)).setup()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.npz' is not a file"):
        NpzPack(str(tmp_path / "nowhere.npz")).setup()


def test_an_unreadable_image_is_named(tmp_path):
    jpeg = arrays()["train_jpeg"].copy()
    jpeg[:20] = 0
    data = pack(tmp_path, train_jpeg=jpeg)
    data.setup()
    with pytest.raises(ValueError, match=r"cannot read the image 0 of .*pack.npz train: it is not an image"):
        data.train_set[0]


def test_reads_cifar(data_file):
    data = NpzPack(str(data_file("cifar10_jpeg_q75.npz")), num_workers=0)
    data.setup()
    assert (len(data.train_set), len(data.val_set), data.num_classes) == (50_000, 10_000, 10)
    assert data.train_set[0][0].shape == (3, 32, 32)


def test_the_split_that_is_validated_on_is_named_where_it_is_the_test_split(tmp_path, capsys):
    data = pack(tmp_path)
    data.setup()
    assert capsys.readouterr().err == f"note: validating on split 'test' of {tmp_path / 'pack.npz'}\n"
    both = arrays() | {
        f"Valid_{part}": value for part, value in ((k[5:], v) for k, v in arrays().items() if "test_" in k)
    }
    data = pack(tmp_path, **both)
    data.setup()
    assert capsys.readouterr().err == ""
    assert data.val_set.name(0).endswith("pack.npz Valid")
    data = pack(tmp_path, **both)
    data.val_split = "test"
    assert (data.val_images()[0].name(0), data.source["val_split"]) == (f"0 of {tmp_path / 'pack.npz'} test", "test")
