"""Sets in the formats of YOLO and Pascal VOC become the same boxes as in COCO's."""

import json
import shutil

import pytest
import yaml
from PIL import Image

from cotnet.detection import CocoData


@pytest.fixture
def content(coco_files):
    return json.loads(coco_files.annotations.read_text())


def boxes(annotations) -> dict[str, list]:
    """Class and box of each object by the stem of its image."""
    names = dict(zip(annotations.category_ids, annotations.class_names, strict=True))
    return {
        image["path"].rsplit("/", 1)[-1]: sorted(
            (names[one["category_id"]], *(round(edge, 3) for edge in one["bbox"]))
            for one in annotations.objects[image["id"]]
        )
        for image in annotations.images
    }


def write_yolo(root, content, coco_files, folders, *, polygons=False):
    names = ["red", "blue"]
    index = {7: 0, 3: 1}
    for number, image in enumerate(content["images"]):
        folder = folders[number % len(folders)]
        labels = folder.replace("images", "labels")
        for path in (folder, labels):
            (root / path).mkdir(parents=True, exist_ok=True)
        shutil.copy(coco_files.images / image["file_name"], root / folder)
        lines = []
        for one in content["annotations"]:
            if one["image_id"] == image["id"]:
                x, y, w, h = one["bbox"]
                width, height = image["width"], image["height"]
                values = [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]
                if polygons:
                    corners = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
                    values = [value for a, b in corners for value in (a / width, b / height)]
                lines.append(" ".join(map(str, [index[one["category_id"]], *values])))
        (root / labels / image["file_name"]).with_suffix(".txt").write_text("\n".join(lines) + "\n")
    return names


@pytest.mark.parametrize(
    ("folders", "config"),
    [
        (["images/train", "images/val"], {"path": "/content/set", "train": "images/train", "val": "images/val"}),
        (["train/images", "valid/images"], {"train": "../train/images", "val": "../valid/images"}),
        (["train/images", "valid/images"], {"train": "train", "val": "valid"}),
    ],
)
def test_yolo(coco_files, content, tmp_path, folders, config, capsys):
    root = tmp_path / "set"
    names = write_yolo(root, content, coco_files, folders)
    (root / "data.yaml").write_text(yaml.safe_dump({**config, "nc": 2, "names": names}))
    data = CocoData(str(root), num_workers=0)
    data.setup("fit")
    data.check_images()
    found = boxes(data.train_set.annotations) | boxes(data.val_set.annotations)
    assert found == boxes(coco_files.read())
    assert (data.class_names, data.category_ids, len(data.val_set)) == (["red", "blue"], [0, 1], 4)
    assert f"YOLO's format, {folders[0]} and {folders[1]}" in capsys.readouterr().out


def test_yolo_without_splits_and_with_polygons(coco_files, content, tmp_path):
    root = tmp_path / "set"
    names = write_yolo(root, content, coco_files, ["images"], polygons=True)
    (root / "data.yaml").write_text(yaml.safe_dump({"names": dict(enumerate(names))}))
    (root / "labels" / "7.txt").unlink()  # background
    data = CocoData(str(root), num_workers=0, masks=True)
    data.setup("fit")
    assert (len(data.train_set), len(data.val_set)) == (6, 2)
    expected = boxes(coco_files.read())
    for name, objects in (boxes(data.train_set.annotations) | boxes(data.val_set.annotations)).items():
        assert objects == ([] if name == "7.png" else expected[name])
    assert data.train_set[0][1]["masks"].any()


def test_yolo_labels_refer_to_the_upright_image(tmp_path):
    root = tmp_path / "set"
    for split in ("train", "val"):
        for part in ("images", "labels"):
            (root / part / split).mkdir(parents=True)
        exif = Image.Exif()
        exif[0x0112] = 6
        image = Image.new("RGB", (60, 40), "black")
        image.paste((255, 0, 0), (0, 0, 30, 20))
        image.save(root / "images" / split / "a.jpg", exif=exif, quality=95)
        (root / "labels" / split / "a.txt").write_text("0 0.75 0.25 0.5 0.5\n")
    (root / "data.yaml").write_text(yaml.safe_dump({"train": "images/train", "val": "images/val", "names": ["a"]}))
    data = CocoData(str(root), num_workers=0, flip="none")
    data.setup("fit")
    data.check_images()
    image, target = data.train_set[0]
    assert tuple(image.shape) == (3, 60, 40)
    x1, y1, x2, y2 = target["boxes"][0].int().tolist()
    assert image[0, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].mean() > 0.9
    assert image[0].mean() < 0.3


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.1", "a 0.5 0.5 0.1 0.1", "0 0.1 0.1 0.2 0.2 0.3"])
def test_a_line_that_is_no_label_is_named(coco_files, content, tmp_path, line):
    root = tmp_path / "set"
    names = write_yolo(root, content, coco_files, ["images/train", "images/val"])
    (root / "data.yaml").write_text(yaml.safe_dump({"train": "images/train", "val": "images/val", "names": names}))
    (root / "labels" / "train" / "0.txt").write_text(f"\n{line}\n")
    data = CocoData(str(root), num_workers=0)
    with pytest.raises(ValueError, match=r"labels/train/0.txt, line 2 is '.*', expected a class and four numbers"):
        data.setup("fit")


def write_voc(path, content, image) -> None:
    names = {category["id"]: category["name"] for category in content["categories"]}
    objects = "".join(
        f"<object><name>{names[one['category_id']]}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin>"
        f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for one in content["annotations"]
        if one["image_id"] == image["id"]
        for x, y, w, h in [one["bbox"]]
    )
    size = f"<size><width>{image['width']}</width><height>{image['height']}</height><depth>3</depth></size>"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation><filename>x.jpg</filename>{size}{objects}</annotation>")


def test_pascal_voc(coco_files, content, tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    shutil.copytree(coco_files.images, root / "JPEGImages")
    for image in content["images"]:
        write_voc((root / "Annotations" / image["file_name"]).with_suffix(".xml"), content, image)
    data = CocoData(str(tmp_path / "VOCdevkit"), num_workers=0)
    data.setup("fit")
    assert (len(data.train_set), len(data.val_set)) == (6, 2)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("0\n1\n2\n3\n4\n")
    (root / "ImageSets" / "Main" / "val.txt").write_text("5 \n6\n7\n")
    data = CocoData(str(tmp_path / "VOCdevkit"), num_workers=0)
    data.setup("fit")
    data.check_images()
    assert (len(data.train_set), len(data.val_set)) == (5, 3)
    assert boxes(data.train_set.annotations) | boxes(data.val_set.annotations) == boxes(coco_files.read())
    assert data.class_names == ["blue", "red"]


def test_voc_beside_the_images(coco_files, content, tmp_path):
    root = tmp_path / "set"
    for number, image in enumerate(content["images"]):
        folder = root / ("train", "valid")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(coco_files.images / image["file_name"], folder)
        write_voc((folder / image["file_name"]).with_suffix(".xml"), content, image)
    data = CocoData(str(root), num_workers=0)
    data.setup("fit")
    assert boxes(data.train_set.annotations) | boxes(data.val_set.annotations) == boxes(coco_files.read())
    (root / "train" / "0.xml").write_text("<!DOCTYPE a [<!ENTITY b 'c'>]><annotation>&b;</annotation>")
    with pytest.raises(ValueError, match=r"train/0.xml is not in Pascal VOC's format: it defines entities"):
        CocoData(str(root), num_workers=0).setup("fit")
