"""Names of images as tools write them."""

import os
import shutil

import pytest

from cotnet.detection.coco.annotations import read_coco
from cotnet.detection.coco.archive import open_files


def rename(coco_files, name) -> None:
    coco_files.edit(lambda c: [image.update(file_name=name(image["file_name"])) for image in c["images"]])


@pytest.mark.parametrize(
    "name",
    [
        lambda name: f"images/{name}",
        lambda name: f"./images/{name}",
        lambda name: name.replace(".png", ".PNG"),
        lambda name: f"images\\{name}",
        lambda name: f"/home/someone/set/images/{name}",
        lambda name: f"C:\\Users\\someone\\images\\{name}",
        lambda name: f"https://host/upload/{name}",
        lambda name: f"/data/local-files/?d=images/{name}",
        lambda name: f"photos/2024/{name}",
    ],
)
def test_the_obvious_is_taken_with_a_notice(coco_files, name):
    rename(coco_files, name)
    annotations = coco_files.read()
    assert [image["path"] for image in annotations.images] == [f"images/{number}.png" for number in range(8)]
    assert "8 images found under another name: " in annotations.report()
    assert sum(map(len, annotations.objects.values())) == 24


def test_encoded_and_decomposed_names_are_found(coco_files):
    (coco_files.images / "0.png").rename(coco_files.images / "a b.png")
    (coco_files.images / "1.png").rename(coco_files.images / "caf\u00e9.png")
    names = {"0.png": "a%20b.png", "1.png": "cafe\u0301.png"}
    rename(coco_files, lambda name: names.get(name, name))
    assert [image["path"] for image in coco_files.read().images][:2] == ["images/a b.png", "images/caf\u00e9.png"]


def test_a_name_is_not_guessed_where_two_could_be_meant(coco_files):
    rename(coco_files, lambda name: "a/1.png" if name == "0.png" else "b/1.png" if name == "1.png" else name)
    report = coco_files.read().report()
    assert "2 missing images left out: a/1.png, b/1.png" in report
    assert "found under another name" not in report
    rename(coco_files, lambda name: "c/2.png" if name == "a/1.png" else name)  # which another image has
    report = coco_files.read().report()
    assert "1 missing images left out: c/2.png" in report
    assert "1 images found under another name: b/1.png as images/1.png" in report


def test_names_do_not_lead_out_of_the_set(coco_files, tmp_path):
    outside = tmp_path.parent / "outside.png"
    shutil.copy(coco_files.images / "0.png", outside)
    names = {"0.png": "../../outside.png", "1.png": str(outside), "2.png": "..\\..\\outside.png"}
    rename(coco_files, lambda name: names.get(name, name))
    report = coco_files.read().report()
    assert "images outside the folder left out: ../../outside.png" in report
    assert len(coco_files.read().images) == 5


def test_the_first_missing_name_is_shown_with_what_is_there(coco_files):
    rename(coco_files, lambda name: f"x{name}")
    message = (
        r"none of its 8 images is in images/: the first one, x0.png, is missing; images/ holds 0.png, 1.png, 2.png"
    )
    with pytest.raises(ValueError, match=message):
        coco_files.read()


def test_links_of_the_user_are_followed(coco_files, tmp_path):
    stored = tmp_path / "elsewhere"
    stored.mkdir()
    for number, path in enumerate(sorted(coco_files.images.iterdir())):
        path.rename(stored / f"object{number}")
        path.symlink_to(stored / f"object{number}")
    coco_files.annotations.rename(stored / "file.json")
    coco_files.annotations.symlink_to(stored / "file.json")
    assert not coco_files.read().report()
    linked = tmp_path / "set"
    linked.mkdir()
    (linked / "images").symlink_to(coco_files.images)
    (linked / "annotations.json").symlink_to(coco_files.annotations)
    assert len(read_coco(open_files(linked), "annotations.json", "images").images) == 8
    (coco_files.images / "0.png").unlink()
    (coco_files.images / "0.png").symlink_to(tmp_path / "nowhere")
    assert "1 missing images left out: 0.png" in coco_files.read().report()


def test_a_link_in_a_circle_ends(coco_files, tmp_path):
    os.symlink(tmp_path, coco_files.images / "again")
    rename(coco_files, lambda name: name.replace(".png", ".PNG"))
    assert len(coco_files.read().images) == 8


def test_the_folder_of_the_images_is_found(coco_files, tmp_path):
    coco_files.images.rename(tmp_path / "photos")
    annotations = read_coco(coco_files.files, "annotations.json")
    assert annotations.images[0]["path"] == "photos/0.png"
    shutil.copytree(tmp_path / "photos", tmp_path / "others")
    with pytest.raises(ValueError, match="its images are in others and in photos; name the folder: --data.images"):
        read_coco(coco_files.files, "annotations.json")
    (tmp_path / "others").rename(tmp_path / "annotations")  # called as the file is
    assert read_coco(coco_files.files, "annotations.json").images[0]["path"] == "annotations/0.png"
