from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cotnet.data import ImageFolder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("ash", "birch"):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(3):
                pixels = generator.integers(0, 255, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{index}.png")
    return tmp_path


def folder(root: Path) -> ImageFolder:
    return ImageFolder(str(root), size=16, batch_size=2, num_workers=0)


def test_serves_every_image(root):
    data = folder(root)
    data.setup()
    assert data.class_names == ["ash", "birch"]
    assert len(data.train_set) == len(data.val_set) == 6
    assert next(iter(data.train_dataloader()))[0].shape == (2, 3, 16, 16)


def test_validation_is_in_one_mixed_order(root):
    data = folder(root)
    data.setup()
    first, again = ([label for _, labels in data.val_dataloader() for label in labels.tolist()] for _ in range(2))
    assert first == again != sorted(first)
    assert sorted(first) == [0, 0, 0, 1, 1, 1]


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere' is not a folder"):
        folder(tmp_path / "nowhere").setup()


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_missing_split_is_named(root, split):
    (root / split).rename(root / "aside")
    with pytest.raises(ValueError, match=f"{split}' is missing"):
        folder(root).setup()


def test_an_empty_split_is_named(root):
    (root / "val").rename(root / "aside")
    (root / "val").mkdir()
    with pytest.raises(ValueError, match="val' is empty"):
        folder(root).setup()


def test_an_empty_class_is_named(root):
    for split in ("train", "val"):
        (root / split / "cedar").mkdir()
    with pytest.raises(ValueError, match="cedar' holds no image"):
        folder(root).setup()


@pytest.mark.parametrize(("has", "lacks"), [("train", "val"), ("val", "train")])
def test_class_folders_that_differ_are_named(root, has, lacks):
    (root / has / "cedar").mkdir()
    with pytest.raises(ValueError, match=rf"class folders differ: 'cedar' in '.*{has}' but not in '.*{lacks}'"):
        folder(root).setup()


def test_an_unreadable_image_is_named(root):
    (root / "train" / "ash" / "1.png").write_bytes(b"no image")
    data = folder(root)
    data.setup()
    with pytest.raises(ValueError, match=r"cannot read the image .*1.png"):
        data.train_set[1]


@pytest.mark.parametrize("ending", ["jpg", "png", "bmp", "webp"])
def test_a_truncated_image_is_found_before_use(root, ending):
    whole = root / "val" / "birch" / f"whole.{ending}"
    Image.effect_noise((200, 100), 80).convert("RGB").save(whole)
    data = folder(root)
    data.setup()
    data.check_images()
    (root / "val" / "birch" / f"half.{ending}").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    data = folder(root)
    data.setup()
    with pytest.raises(ValueError, match=f"cannot read the image .*half.{ending}"):
        data.check_images()
