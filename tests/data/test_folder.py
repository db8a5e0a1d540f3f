import shutil
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


def folder(root: Path, **options) -> ImageFolder:
    return ImageFolder(str(root), size=16, batch_size=2, num_workers=0, **options)


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


@pytest.mark.parametrize(("split", "usual"), [("train", "train or training"), ("val", "val, valid or validation")])
def test_a_missing_split_is_named(root, split, usual):
    (root / split).rename(root / "aside")
    with pytest.raises(ValueError, match=f"has no split {usual}, only aside, .*; name one by --data.{split}_split"):
        folder(root).setup()


@pytest.mark.parametrize("field", ["train_split", "val_split"])
def test_a_split_can_be_named(root, field):
    (root / field.removesuffix("_split")).rename(root / "aside")
    data = folder(root, **{field: "aside"})
    data.setup()
    assert len(data.train_set) == len(data.val_set) == 6
    with pytest.raises(ValueError, match=f"data.{field} 'nowhere' is not a folder in .*; it holds aside, "):
        folder(root, **{field: "nowhere"}).setup()


@pytest.mark.parametrize("names", [("Train", "Val"), ("training", "validation"), ("TRAIN", "valid")])
def test_usual_names_of_splits_are_recognised_and_said(root, names, capsys):
    for before, after in zip(("train", "val"), names, strict=True):
        (root / before).rename(root / after)
    data = folder(root)
    data.setup()
    assert capsys.readouterr().err == f"note: training on {root / names[0]}, validating on {root / names[1]}\n"
    assert data.source == {"root": str(root)}


def test_the_test_folder_is_never_validated_on_unasked(root, capsys):
    (root / "val").rename(root / "Test")
    with pytest.raises(
        ValueError, match=r"has no split val.*, only Test, train; .* ask for it by --data.val_split Test"
    ):
        folder(root).setup()
    assert folder(root, val_split="Test").source["val_split"] == "Test"
    data = folder(root)
    data.setup("validate")
    assert len(data.val_set) == 6
    assert capsys.readouterr().err == f"note: validating on {root / 'Test'}\n"
    shutil.copytree(root / "Test", root / "valid")
    data = folder(root)
    data.setup("validate")
    assert str(data.val_folder) == str(root / "valid")


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


def test_whatever_is_not_an_image_of_a_class_is_counted_in_one_line(root, capsys):
    for name in ("0.txt", ".DS_Store", "ash/notes.pdf", "ash/.hidden.png", "birch/old.HEIC"):
        (root / "train" / name).touch()
    (root / "train" / "ash" / "broken.png").symlink_to("nowhere")
    shutil.copy(root / "train" / "ash" / "0.png", root / "train" / "stray.png")
    data = folder(root)
    data.setup()
    assert len(data.train_set) == 6
    first, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith(f"note: {root / 'train'}: 7 files skipped: ")
    for kind in ("2 hidden", "1 .txt", "1 .pdf", "1 .heic", "1 broken links", "1 images outside the class folders"):
        assert kind in first


def test_linked_classes_and_folders_in_them_are_followed(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for split in ("train", "val"):
        (root / split / "ash").rename(elsewhere / f"{split}-ash")
        (root / split / "ash").symlink_to(elsewhere / f"{split}-ash", target_is_directory=True)
    shutil.copytree(root / "train" / "birch", elsewhere / "more")
    (root / "train" / "birch" / "more").symlink_to(elsewhere / "more", target_is_directory=True)
    (root / "train" / "birch" / "loop").symlink_to("..", target_is_directory=True)
    data = folder(root)
    data.setup()
    assert [data.train_set.labels.count(label) for label in (0, 1)] == [3, 6]


def test_a_class_of_unsuitable_files_says_what_they_are(root):
    for path in (root / "train" / "ash").iterdir():
        path.rename(path.with_suffix(".heic"))
    with pytest.raises(
        ValueError, match=r"ash' holds no image \(3 files skipped: 3 \.heic \(which pip install pillow-h"
    ):
        folder(root).setup()


def test_hidden_folders_are_no_classes(root):
    for name in (".ipynb_checkpoints", "__MACOSX"):
        shutil.copytree(root / "train" / "ash", root / "train" / name)
    data = folder(root)
    data.setup()
    assert (data.class_names, len(data.train_set)) == (["ash", "birch"], 6)


@pytest.fixture
def unsplit(root):
    """Class folders of ten images, without splits."""
    shutil.rmtree(root / "val")
    for name in ("ash", "birch"):
        (root / "train" / name).rename(root / name)
        for index in range(3, 10):
            shutil.copy(root / name / "0.png", root / name / f"{index}.png")
    (root / "train").rmdir()
    return root


def names(images):
    return {images.name(index) for index in range(len(images))}


def test_class_folders_without_splits_are_divided(unsplit, capsys):
    data = folder(unsplit)
    data.setup()
    assert (len(data.train_set), len(data.val_set)) == (16, 4)
    assert [data.val_set.labels.count(label) for label in (0, 1)] == [2, 2]
    assert not names(data.train_set) & names(data.val_set)
    assert capsys.readouterr().err == (
        f"note: training on {unsplit}, validating on 20 % of each class, by split_seed 0 (it has no splits)\n"
    )
    other = folder(unsplit, split_seed=1, val_share=0.4)
    other.setup()
    assert len(other.val_set) == 8


def test_the_division_is_recorded_and_validated_on(unsplit):
    data = folder(unsplit)
    data.seed = 7  # has no part in it
    data.setup()
    again = ImageFolder(**data.source, size=16, num_workers=0)
    again.setup("validate")
    assert names(again.val_set) == names(data.val_set)
    whole = folder(unsplit)
    whole.setup("validate")
    assert len(whole.val_set) == 20


def test_another_division_is_refused_on_a_resume_and_in_validation(unsplit):
    data = folder(unsplit)
    data.setup()
    state, source = data.state_dict(), data.source
    folder(unsplit).load_state_dict(state)
    moved = unsplit.rename(unsplit.with_name("moved"))
    folder(moved).load_state_dict(state)
    for index in range(20, 30):
        shutil.copy(moved / "ash" / "0.png", moved / "ash" / f"{index}.png")
    for use in (
        lambda: folder(moved).load_state_dict(state),
        lambda: ImageFolder(**{**source, "root": str(moved)}).setup("validate"),
    ):
        with pytest.raises(ValueError, match=r"are not those of the run.*; put them back"):
            use()


def test_a_class_of_one_image_cannot_be_divided(unsplit):
    for index in range(1, 10):
        (unsplit / "ash" / f"{index}.png").unlink()
    with pytest.raises(ValueError, match=r"has no splits, and 'ash/0\.png' is the only image of its class"):
        folder(unsplit).setup()


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_a_share_outside_its_range_is_refused(root, share):
    with pytest.raises(ValueError, match=f"data.val_share must be above 0 and below 1, got {share}"):
        folder(root, val_share=share)


def test_a_class_that_is_called_like_a_split(unsplit):
    (unsplit / "ash").rename(unsplit / "train")
    data = folder(unsplit)
    data.setup()
    assert (data.class_names, len(data.train_set)) == (["birch", "train"], 16)
