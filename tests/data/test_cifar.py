"""CIFAR from an archive laid out as torchvision unpacks it, with a few made-up images."""

import pickle

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, CIFAR100

from cotnet.data import CIFAR


def archive(root, kind, monkeypatch, *, label, names):
    """Write the archive of a dataset class and take the checksums of the real one off."""
    folder = root / kind.base_folder
    folder.mkdir()
    generator = np.random.default_rng(0)
    for split in ("train_list", "test_list"):
        files = [name for name, _ in getattr(kind, split)]
        monkeypatch.setattr(kind, split, [[name, None] for name in files])
        for name in files:
            labels = [0, len(names) - 1]
            pixels = generator.integers(0, 255, (2, 3 * 32 * 32), np.uint8)
            (folder / name).write_bytes(pickle.dumps({"data": pixels, label: labels}))
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": None})
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps({kind.meta["key"]: names}))


@pytest.mark.parametrize(
    ("kind", "classes", "label", "images"), [(CIFAR10, 10, "labels", 10), (CIFAR100, 100, "fine_labels", 2)]
)
def test_serves_the_archive(kind, classes, label, images, tmp_path, monkeypatch):
    names = [f"class {index}" for index in range(classes)]
    archive(tmp_path, kind, monkeypatch, label=label, names=names)
    data = CIFAR(str(tmp_path), classes=classes, batch_size=2, num_workers=0)
    data.setup()
    data.check_images()
    assert data.class_names == names
    assert (len(data.train_set), len(data.val_set)) == (images, 2)
    batch, labels = next(iter(data.val_dataloader()))
    assert batch.shape == (2, 3, 32, 32)
    assert sorted(labels.tolist()) == [0, classes - 1]


def test_a_missing_archive_is_named_with_the_way_out(tmp_path):
    with pytest.raises(ValueError, match=r"CIFAR-10 is not in .*--data\.download true"):
        CIFAR(str(tmp_path)).setup()
    assert not list(tmp_path.iterdir())
