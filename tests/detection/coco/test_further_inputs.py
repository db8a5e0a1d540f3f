"""Sets that people bring, beyond the layouts of tools: each is read, or refused in one line."""

import json
import shutil
import zipfile

import pytest
import yaml
from PIL import Image

from cotnet.detection import CocoData
from cotnet.detection.coco.archive import open_files
from cotnet.detection.coco.reader import read_coco


def objects_of(annotations) -> int:
    return sum(map(len, annotations.objects.values()))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_encodings_of_other_editors(coco_files, encoding):
    coco_files.annotations.write_text(coco_files.annotations.read_text(), encoding=encoding)
    assert objects_of(coco_files.read()) == 24


def test_a_pointer_of_git_lfs_names_the_way_out(coco_files):
    coco_files.annotations.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    with pytest.raises(ValueError, match="it is a pointer of Git LFS; fetch the file with git lfs pull"):
        coco_files.read()


def test_an_archive_of_windows(coco_files, tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.write(coco_files.annotations, "train.json")
        for path in coco_files.images.iterdir():
            info = zipfile.ZipInfo("x")
            info.filename = f"images\\{path.name}"  # which the constructor would change
            archive.writestr(info, path.read_bytes())
    files = open_files(tmp_path / "set.zip")
    annotations = read_coco(files, "train.json")
    assert len(annotations.images) == 8
    assert files.read(annotations.images[0]["path"]) == (coco_files.images / "0.png").read_bytes()


def test_an_encrypted_archive_is_one_line(coco_files, tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(coco_files.annotations, "train.json")
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1  # the flag of an encrypted file
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"train.json is not JSON: .*encrypted"):
        read_coco(open_files(path), "train.json")


@pytest.mark.parametrize("name", ["train.json", "set.tar.gz"])
def test_a_file_that_is_no_set_names_the_way_out(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(
        ValueError, match=r"cannot be read as a zip archive: .*; name a zip archive, or the folder that"
    ):
        open_files(tmp_path / name)


def test_names_of_lvis(coco_files):
    def lvis(content):
        for image in content["images"]:
            image["coco_url"] = f"http://images.cocodataset.org/images/{image.pop('file_name')}"
        for one in content["annotations"]:
            one.pop("iscrowd")

    annotations = coco_files.edit(lvis).read()
    assert [image["path"] for image in annotations.images] == [f"images/{number}.png" for number in range(8)]


def test_a_folder_in_another_case_is_found(coco_files, tmp_path):
    coco_files.images.rename(tmp_path / "Images")
    assert read_coco(coco_files.files, "annotations.json").images[0]["path"] == "Images/0.png"


def test_a_category_may_have_the_id_0(coco_files):
    def zero(content):
        content["categories"][1]["id"] = 0
        for one in content["annotations"]:
            one["category_id"] = {7: 7, 3: 0}[one["category_id"]]

    annotations = coco_files.edit(zero).read()
    assert (annotations.category_ids, annotations.class_names) == ([0, 7], ["blue", "red"])
    assert objects_of(annotations) == 24


def test_subfolders_that_number_their_images_alike(coco_files):
    content = json.loads(coco_files.annotations.read_text())
    for number, image in enumerate(content["images"]):
        folder = coco_files.images / f"cam{number % 2}"
        folder.mkdir(exist_ok=True)
        name = f"cam{number % 2}/{number // 2}.png"
        (coco_files.images / image["file_name"]).rename(coco_files.images / name)
        image["file_name"] = name
    coco_files.annotations.write_text(json.dumps(content))
    annotations = read_coco(coco_files.files, "annotations.json")
    assert [image["path"] for image in annotations.images] == [
        f"images/{image['file_name']}" for image in content["images"]
    ]
    assert not annotations.report()


def test_scores_of_detections_do_not_hide_objects(coco_files):
    annotations = coco_files.edit(lambda c: [one.update(score=0.1) for one in c["annotations"]]).read()
    assert not any("score" in one for objects in annotations.objects.values() for one in objects)


def test_unreadable_images_without_sizes_count_as_unreadable(coco_files, capsys):
    (coco_files.images / "1.png").write_bytes(b"")
    coco_files.edit(lambda c: [image.pop("width") for image in c["images"]])
    for tolerated in (0, 1):
        data = CocoData(str(coco_files.annotations.parent), num_workers=0, skip_unreadable=tolerated)
        data.setup("fit")
        if tolerated == 0:
            with pytest.raises(
                ValueError, match=r"1 of \d images cannot be used: image .*1.png cannot be read: it is not"
            ):
                data.check_images()
    data.check_images()
    assert [name[-5:] for name in data.skipped()] == ["1.png"]
    assert len(data.train_set) + len(data.val_set) == 7


def test_keypoints_of_yolo_name_the_way_out(coco_files, tmp_path):
    shutil.copytree(coco_files.images, tmp_path / "set" / "images")
    (tmp_path / "set" / "data.yaml").write_text(yaml.safe_dump({"names": ["a"], "kpt_shape": [17, 3]}))
    with pytest.raises(ValueError, match=r"data.yaml describes keypoints; export boxes or polygons, or COCO's format"):
        CocoData(str(tmp_path / "set"), num_workers=0).setup("fit")


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "I;16", "1"])
def test_images_of_any_mode(coco_files, mode):
    image = Image.new(mode, (64, 80))
    kind = "tiff" if mode == "CMYK" else "png"
    (coco_files.images / "0.png").unlink()
    image.save(coco_files.images / f"0.{kind}")
    annotations = coco_files.edit(lambda c: c["images"][0].update(file_name=f"0.{kind}")).read()
    data = CocoData(str(coco_files.annotations.parent), num_workers=0)
    data.setup("fit")
    data.check_images()
    assert len(annotations.images) == 8


def test_sizes_of_run_lengths_that_are_swapped_are_named(coco_files):
    def swap(content):
        for one in content["annotations"]:
            if isinstance(one["segmentation"], dict):
                one["segmentation"]["size"].reverse()

    report = coco_files.edit(swap).read(masks=True).report()
    assert "8 objects without a usable mask left out: annotation 1 in 0.png (run lengths of the size [64, 80]" in report
