"""The layouts that tools write are recognised and said."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from cotnet.detection import CocoData
from cotnet.detection.coco.archive import open_files
from cotnet.detection.coco.layout import find_layout


def parts(coco_files, **sizes: int) -> dict[str, dict]:
    """The content of the annotation file in parts of so many images each."""
    content, start, found = json.loads(coco_files.annotations.read_text()), 0, {}
    for name, size in sizes.items():
        images = content["images"][start : start + size]
        ids = {image["id"] for image in images}
        annotations = [one for one in content["annotations"] if one["image_id"] in ids]
        found[name] = {**content, "images": images, "annotations": annotations}
        start += size
    return found


def write(root: Path, name: str, content) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(content if isinstance(content, str) else json.dumps(content))


def put_images(coco_files, content: dict, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image in content["images"]:
        shutil.copy(coco_files.images / image["file_name"], folder)


def sets(path: Path, **options) -> CocoData:
    data = CocoData(str(path), num_workers=0, **options)
    data.setup("fit")
    data.check_images()
    return data


def names(data) -> tuple[list[str], list[str]]:
    return tuple(
        sorted(Path(images.name(i)).name for i in range(len(images))) for images in (data.train_set, data.val_set)
    )


@pytest.fixture
def root(tmp_path) -> Path:
    path = tmp_path / "set"
    path.mkdir()
    return path


def test_roboflow(coco_files, root, capsys):
    for split, content in parts(coco_files, train=4, valid=2, test=2).items():
        write(root, f"{split}/_annotations.coco.json", content)
        put_images(coco_files, content, root / split)
    write(root, "README.roboflow.txt", "exported")
    data = sets(root)
    assert names(data) == (["0.png", "1.png", "2.png", "3.png"], ["4.png", "5.png"])
    out = capsys.readouterr().out
    assert "train/_annotations.coco.json and valid/_annotations.coco.json" in out
    assert "test/_annotations.coco.json is not used" in out
    again = CocoData(**data.source)
    again.setup("validate")
    assert len(again.val_set) == 2


def test_roboflows_parent_of_all_classes_may_have_the_name_of_one(coco_files, root):
    content = parts(coco_files, train=8)["train"]
    content["categories"] = [
        {"id": 0, "name": "red", "supercategory": "none"},
        {"id": 7, "name": "red", "supercategory": "red"},
        {"id": 3, "name": "blue", "supercategory": "red"},
    ]
    write(root, "train/_annotations.coco.json", content)
    put_images(coco_files, content, root / "train")
    data = sets(root)
    assert (data.class_names, data.category_ids) == (["blue", "red"], [3, 7])


def test_cvat(coco_files, root, capsys):
    content = parts(coco_files, all=8)["all"]
    write(root, "annotations/instances_default.json", content)
    put_images(coco_files, content, root / "images" / "default")
    data = sets(root)
    assert (len(data.train_set), len(data.val_set)) == (6, 2)
    assert set(names(data)[0]).isdisjoint(names(data)[1])
    assert "2 of 8 images are for validation, drawn with data.split_seed 0" in capsys.readouterr().out
    again = CocoData(**data.source)
    again.setup("validate")
    assert [image["id"] for image in again.val_set.annotations.images] == [
        image["id"] for image in data.val_set.annotations.images
    ]
    other = sets(root, split_seed=1, val_fraction=0.5)
    assert len(other.val_set) == 4
    assert CocoData(**other.source).split_seed == 1


def test_label_studio(coco_files, root):
    content = parts(coco_files, all=8)["all"]
    put_images(coco_files, content, root / "images")
    for image in content["images"]:
        image["file_name"] = f"images/{image['file_name']}"
    write(root, "result.json", content)
    write(root, "notes.json", {"categories": [], "info": {"year": 2024}})
    assert len(sets(root).val_set) == 2


def test_cocos_own_layout(coco_files, root, capsys):
    found = parts(coco_files, train2017=5, val2017=3)
    for split, content in found.items():
        write(root, f"annotations/instances_{split}.json", content)
        write(root, f"annotations/captions_{split}.json", {"images": [], "annotations": []})
        write(root, f"annotations/person_keypoints_{split}.json", content)
        put_images(coco_files, content, root / split)
    write(root, "annotations/image_info_test2017.json", {"images": []})
    data = sets(root)
    assert (len(data.train_set), len(data.val_set)) == (5, 3)
    assert "annotations/instances_train2017.json and annotations/instances_val2017.json" in capsys.readouterr().out


def test_splits_that_number_their_images_alike(coco_files, root):
    for split, content in parts(coco_files, train=4, valid=4).items():
        for number, image in enumerate(content["images"]):
            (root / split).mkdir(exist_ok=True)
            shutil.copy(coco_files.images / image["file_name"], root / split / f"{number}.png")
            image["file_name"] = f"{number}.png"
        write(root, f"{split}.json", content)
    data = sets(root)
    assert [Path(images.name(0)).parent.name for images in (data.train_set, data.val_set)] == ["train", "valid"]


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_one_folder_around_everything(coco_files, tmp_path, kind):
    found = parts(coco_files, train=5, val=3)
    root = tmp_path / "outer" / "cells" / "v2"
    for split, content in found.items():
        write(root, f"{split}.json", content)
        put_images(coco_files, content, root / "images")
    path = tmp_path / "outer"
    if kind == "zip":
        path = tmp_path / "cells.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(root.rglob("*")):
                archive.write(file, file.relative_to(tmp_path / "outer"))
            archive.writestr("__MACOSX/cells/._train.json", b"\0")
            archive.writestr(".DS_Store", b"\0")
    data = sets(path)
    assert (len(data.train_set), len(data.val_set)) == (5, 3)
    assert "cells/v2/images/0.png" in data.train_set.name(0)
    assert len(sets(path, train="cells/v2/train.json", val="val.json").val_set) == 3


def test_no_validation_file(coco_files, root, capsys):
    found = parts(coco_files, train=6, test=2)
    for split, content in found.items():
        write(root, f"{split}.json", content)
        put_images(coco_files, content, root / "images")
    data = sets(root)
    assert (len(data.train_set), len(data.val_set)) == (5, 1)
    assert set(names(data)[1]).isdisjoint({"6.png", "7.png"})
    assert "train.json and no validation part; test.json is not used" in capsys.readouterr().out


def test_what_is_not_known_is_one_line(coco_files, root):
    with pytest.raises(ValueError, match=r"expected train.json and val.json beside images/, the set holds no files"):
        find_layout(open_files(root))
    put_images(coco_files, parts(coco_files, all=8)["all"], root / "photos")
    (root / "more").mkdir()
    write(root, "more/table.csv", "a,b")
    with pytest.raises(ValueError, match=r"the set holds more/, photos/"):
        find_layout(open_files(root))
    write(root, "photos/0.json", {"shapes": [], "imagePath": "0.png"})
    with pytest.raises(ValueError, match=r"photos/0.json is a file of LabelMe, .*; export or convert it to COCO"):
        find_layout(open_files(root))
    (root / "photos" / "0.json").unlink()
    write(root, "annotations.xml", "<annotations><version>1.1</version></annotations>")
    with pytest.raises(ValueError, match=r"annotations.xml is no Pascal VOC; export it in COCO's format"):
        find_layout(open_files(root))


def test_several_files_of_one_part_are_named(coco_files, root):
    content = parts(coco_files, all=8)["all"]
    for name in ("a.json", "b.json"):
        write(root, name, content)
    put_images(coco_files, content, root / "images")
    with pytest.raises(ValueError, match=r"a.json, b.json could each be the annotations; name one .*--data.train NAME"):
        sets(root)
    assert len(sets(root, train="a.json").val_set) == 2
    assert len(sets(root, train="a.json", val="b.json").val_set) == 8


def test_a_name_that_is_not_there_is_shown_with_what_is(coco_files, root):
    for split, content in parts(coco_files, train=5, val=3).items():
        write(root, f"{split}.json", content)
        put_images(coco_files, content, root / "images")
    with pytest.raises(ValueError, match=r"valid.json does not exist; there are train.json, val.json"):
        sets(root, val="valid.json")
