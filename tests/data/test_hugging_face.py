import io

import numpy as np
import pytest
from PIL import Image

datasets = pytest.importorskip("datasets")

from cotnet.data import HuggingFace  # noqa: E402


def rows(count: int) -> dict[str, list]:
    images = []
    for index in range(count):
        out = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), 20 * index, np.uint8)).save(out, "PNG")
        images.append({"bytes": out.getvalue(), "path": None})
    return {"image": images, "kind": [index % 2 for index in range(count)]}


@pytest.fixture
def saved(tmp_path):
    features = datasets.Features(image=datasets.Image(), kind=datasets.ClassLabel(names=["ash", "birch"]))
    splits = {
        name: datasets.Dataset.from_dict(rows(count), features) for name, count in (("train", 6), ("validation", 3))
    }
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def served(path, **options) -> tuple[HuggingFace, list[int]]:
    data = HuggingFace(str(path), size=8, batch_size=2, num_workers=0, **options)
    data.setup()
    data.check_images()
    return data, sorted(int(label) for _, labels in data.val_dataloader() for label in labels)


def test_a_saved_set(saved):
    data, labels = served(saved)
    assert (data.class_names, len(data.train_set), labels) == (["ash", "birch"], 6, [0, 0, 1])
    read, _ = data.val_images()
    assert read.encoded(1)[1] == "png"
    assert read(2).getpixel((0, 0)) == (40, 40, 40)


def test_a_missing_image_is_named_or_skipped(saved, tmp_path):
    splits = datasets.load_from_disk(saved)
    for name, split in splits.items():
        images = [None, *rows(len(split))["image"][1:]]
        splits[name] = datasets.Dataset.from_dict({**rows(len(split)), "image": images}, split.features)
    splits.save_to_disk(tmp_path / "lacking")
    with pytest.raises(ValueError, match=r"^cannot read the image 0 of .*lacking train: its row is empty; repair"):
        served(tmp_path / "lacking")
    data, labels = served(tmp_path / "lacking", skip_unreadable=1)
    assert data.skipped() == [f"0 of {tmp_path / 'lacking'} {split}" for split in ("train", "validation")]
    assert labels == [0, 1]


def test_a_file_that_is_gone_is_named(tmp_path):
    for split in ("train", "validation"):
        for name in ("ash", "birch"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / split / name / "0.png")
    data, _ = served(tmp_path)
    (tmp_path / "validation" / "ash" / "0.png").unlink()
    with pytest.raises(
        ValueError, match=r"^cannot read the image 0 of .* validation: No such file or directory; repair"
    ):
        data.check_images()


def test_parquet_files(saved, tmp_path):
    (tmp_path / "files").mkdir()
    for name, split in datasets.load_from_disk(saved).items():
        split.to_parquet(tmp_path / "files" / f"{name}-00000.parquet")
    assert served(tmp_path / "files")[1] == [0, 0, 1]


def test_a_folder_of_images(tmp_path):
    for split in ("train", "validation"):
        for label, name in enumerate(("ash", "birch")):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(2):
                Image.new("RGB", (8, 8), (90 * label, 0, 0)).save(tmp_path / split / name / f"{index}.png")
    data, labels = served(tmp_path)
    assert (data.class_names, labels) == (["ash", "birch"], [0, 0, 1, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_split": "dev"}, "has no split 'dev'; it has train, validation"),
        ({"image": "kind"}, "data.image 'kind' is no column of type Image .* it has image"),
        ({"label": "nowhere"}, "data.label 'nowhere' is no column of type ClassLabel"),
    ],
)
def test_what_it_lacks_is_named(saved, options, message):
    with pytest.raises(ValueError, match=message):
        served(saved, **options)


def test_a_folder_without_a_data_set_is_named(tmp_path):
    with pytest.raises(ValueError, match="cannot open the data set"):
        served(tmp_path)


def test_the_test_split_is_used_only_to_evaluate_or_where_it_is_named(saved, capsys):
    splits = datasets.load_from_disk(saved)
    splits["test"] = splits.pop("validation")
    splits.save_to_disk(saved.with_name("tested"))
    with pytest.raises(ValueError, match=r"has no split val, valid or validation, only test, train; .*val_split test$"):
        served(saved.with_name("tested"))
    data, labels = served(saved.with_name("tested"), val_split="test")
    assert labels == [0, 0, 1]
    assert data.source["val_split"] == "test"
    data = HuggingFace(str(saved.with_name("tested")), size=8, num_workers=0)
    capsys.readouterr()
    data.setup("validate")
    assert len(data.val_set) == 3
    assert f"note: validating on split 'test' of {saved.with_name('tested')}\n" in capsys.readouterr().err


def test_splits_are_recognised_in_any_case(saved):
    splits = datasets.load_from_disk(saved)
    datasets.DatasetDict({"Training": splits["train"], "Valid": splits["validation"]}).save_to_disk(
        saved.with_name("named")
    )
    assert served(saved.with_name("named"))[1] == [0, 0, 1]
