import pickle
import zipfile

import pytest
import torch

pytest.importorskip("faster_coco_eval")

from cotnet.detection.coco.archive import open_files
from cotnet.detection.coco.dataset import CocoDataset, collate, read_coco


def test_reads_images_and_targets(coco_files):
    annotations = coco_files.read()
    assert (annotations.category_ids, annotations.class_names) == ([3, 7], ["blue", "red"])
    assert not annotations.report()
    images = CocoDataset(annotations, coco_files.files, masks=True)
    assert len(images) == 8
    for image, target in (images[i] for i in range(8)):
        assert image.dtype == torch.float32
        assert 0 <= image.min() < image.max() <= 1
        assert type(image) is type(target["boxes"]) is torch.Tensor
        for box, label, mask in zip(target["boxes"], target["labels"], target["masks"], strict=True):
            x1, y1, x2, y2 = box.int().tolist()
            assert mask.shape == image.shape[1:]
            assert mask[y1:y2, x1:x2].all()
            assert mask.sum() == (x2 - x1) * (y2 - y1)
            assert image[:, y1:y2, x1:x2].flatten(1).mean(1).argmax() == (2, 0)[label - 1]
    assert [len(images[i][1]["boxes"]) for i in (2, 3)] == [3, 2]  # a crowd is no example
    batch, targets = collate([images[0], images[1]])
    assert [tuple(image.shape) for image in batch] == [(3, 80, 64), (3, 64, 96)]
    assert [int(target["image_id"]) for target in targets] == [10, 11]


def test_what_cannot_be_used_is_left_out_counted_and_named(coco_files):
    def spoil(content):
        first, second, third, fourth, fifth, *_ = content["annotations"]
        first["bbox"] = [10, 10, 0, 5]
        second["bbox"] = [500, 10, 20, 20]
        third["category_id"] = 99
        fourth["image_id"] = 12345
        fifth["bbox"] = [-10, -10, 40, 40]
        content["images"].append({"id": 50, "file_name": "gone.png", "width": 9, "height": 9})
        content["images"].append({"id": 51, "file_name": "../annotations.json", "width": 9, "height": 9})

    annotations = coco_files.edit(spoil).read()
    report = annotations.report()
    assert "2 boxes of no area or outside their image left out: annotation 1 [10, 10, 0, 5] in 0.png, " in report
    assert "1 annotations of unknown categories left out: annotation 3 of category 99" in report
    assert "1 annotations of unknown images left out: annotation 4" in report
    assert "1 boxes over the edge cut: annotation 5 in 1.png" in report
    assert "1 missing images left out: gone.png" in report
    assert "1 images outside the folder left out: ../annotations.json" in report
    assert sum(map(len, annotations.objects.values())) == 20
    assert annotations.objects[11][0]["bbox"] == [0.0, 0.0, 30.0, 30.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(annotations=[]), "has no annotations"),
        (lambda c: c.pop("categories"), "no list of categories; it is not in COCO's format"),
        (lambda c: c["images"][2].pop("height"), r"images\[2\] has no height"),
        (lambda c: [i.update(file_name="x" + i["file_name"]) for i in c["images"]], "none of its 8 images is in"),
        (lambda c: [a.update(category_id=5) for a in c["annotations"]], "no usable annotation; 24 annotations of"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, "x", 4]), r"annotations\[1\] has the bbox \[1, 2, 'x', 4\]"),
        (lambda c: c["images"][0].update(width="9"), r"images\[0\] has the width '9', expected pixels"),
        (lambda c: c["images"][0].update(id=True), r"images\[0\] has the id True, expected an integer"),
        (lambda c: c["images"][0].update(id=10**30), r"images\[0\] has the id 1000"),
        (lambda c: c["annotations"][0].update(iscrowd="1"), r"annotations\[0\] has the iscrowd '1', expected 0 or 1"),
        (lambda c: c["categories"].append({"id": 7, "name": "x"}), "categories red and x have the same id 7"),
    ],
)
def test_a_file_that_is_of_no_use(coco_files, change, message):
    with pytest.raises(ValueError, match=message):
        coco_files.edit(change).read()


def test_missing_and_broken_files(coco_files):
    coco_files.annotations.write_text("boxes")
    with pytest.raises(ValueError, match=r"annotations\.json is no JSON"):
        coco_files.read()
    coco_files.annotations.unlink()
    with pytest.raises(ValueError, match=r"annotations\.json does not exist"):
        coco_files.read()


def test_a_broken_image_is_named(coco_files):
    annotations = coco_files.read()
    path = coco_files.images / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"1\.png cannot be read"):
        CocoDataset(annotations, coco_files.files)[1]


def test_a_size_that_differs_is_named(coco_files):
    annotations = coco_files.edit(lambda c: c["images"][0].update(width=65)).read()
    with pytest.raises(ValueError, match=r"0\.png has 64 x 80 pixels, .* says 65 x 80"):
        CocoDataset(annotations, coco_files.files)[0]


def test_objects_without_a_usable_mask_are_left_out_where_masks_are_wanted(coco_files):
    def spoil(content):
        content["annotations"][1].pop("segmentation")
        content["annotations"][2]["segmentation"] = [[1, 2, 3, 4]]
        content["annotations"][3]["segmentation"]["size"] = [5, 5]

    assert not coco_files.edit(spoil).read().problems
    annotations = coco_files.read(masks=True)
    assert "3 objects without a usable mask left out: annotation 2 in 0.png, annotation 3 " in annotations.report()
    assert len(CocoDataset(annotations, coco_files.files, masks=True)[0][1]["masks"]) == 1


@pytest.mark.parametrize(
    "shape",
    [
        [[1, 1, 9, 1, 9, float("nan")]],
        [[1, 1, 9, 1, 9, float("inf")]],
        [[1, 1, 9, 1, 1e12, 9]],
        [[1, 1, 9, 1, 9]],
        [[1, 1, 9, 1, 9, "9", 1, 9]],
        [[1, 1, 9, 1, 9, None]],
        [{"a": 1}],
        5,
        {"size": [80, 64], "counts": [5, 5]},
        {"size": [80, 64], "counts": [5, 5115, 9999]},
        {"size": [80, 64], "counts": [-5, 5125]},
        {"size": [80, 64], "counts": [0.5, 5119.5]},
        {"size": [80, 64], "counts": [5120]},
        {"size": [80, 64], "counts": "!!!!"},
        {"size": [80, 64], "counts": "é"},
        {"size": [80, 64], "counts": "f" * 50},
        {"size": [80, 64]},
    ],
)
def test_masks_that_a_decoder_would_stumble_over_are_left_out(coco_files, shape):
    coco_files.edit(lambda c: c["annotations"][1].update(segmentation=shape))
    annotations = coco_files.read(masks=True)
    assert "1 objects without a usable mask left out: annotation 2 in 0.png" in annotations.report()
    assert len(CocoDataset(annotations, coco_files.files, masks=True)[0][1]["masks"]) == 2


def test_odd_entries_are_mended_or_left_out_and_named(coco_files):
    def spoil(content):
        first, second, third, fourth, fifth, sixth, *_ = content["annotations"]
        first["bbox"] = [40, 4, 1e-9, 16]  # nothing is left of it in float32
        second["area"] = "big"
        third.pop("area")
        fourth["iscrowd"] = None
        fifth["id"] = sixth["id"]
        content["annotations"].append(dict(second))
        for number, name in enumerate(("a\0b.png", "x" * 5000, "\ud800.png"), 60):
            content["images"].append({"id": number, "file_name": name, "width": 9, "height": 9})

    annotations = coco_files.edit(spoil).read()
    report = annotations.report()
    report.encode()
    assert "1 boxes of no area or outside their image left out: annotation 1 " in report
    assert "1 areas that are none taken from the box: annotation 2 in 0.png" in report
    assert "1 annotations with the id of another kept: annotation 6" in report
    assert "1 repeated annotations left out: annotation 2" in report
    assert "3 missing images left out: a" in report
    for one in annotations.objects[10]:
        assert one["area"] == one["bbox"][2] * one["bbox"][3]
    assert len(annotations.objects[11]) == 3
    assert annotations.objects[11][0]["iscrowd"] == 0


def test_annotations_of_missing_images_are_counted(coco_files):
    (coco_files.images / "1.png").unlink()
    assert "3 annotations of images that were left out: annotation 4, " in coco_files.read().report()


def test_a_zip_archive_reads_as_the_folder_does(coco_files, tmp_path):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in (coco_files.annotations, *coco_files.images.iterdir()):
            file.write(path, path.relative_to(tmp_path))
        file.write(coco_files.annotations, "../outside.png")
    files = pickle.loads(pickle.dumps(open_files(archive)))  # as a loader process gets it
    annotations = read_coco(files, "annotations.json", "images")
    assert not annotations.problems
    for ours, theirs in zip(
        CocoDataset(annotations, files), CocoDataset(coco_files.read(), coco_files.files), strict=True
    ):
        assert torch.equal(ours[0], theirs[0])
    coco_files.edit(lambda c: c["images"][0].update(file_name="../../outside.png"))
    with zipfile.ZipFile(archive, "a") as file:
        file.write(coco_files.annotations, "edited.json")
    report = read_coco(open_files(archive), "edited.json", "images").report()
    assert "1 images outside the folder left out: ../../outside.png" in report
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotations.json", "images", "set.zip"]


def test_what_is_neither_folder_nor_archive(coco_files, tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist; name a folder or a zip archive"):
        open_files(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"annotations\.json is no zip archive"):
        open_files(coco_files.annotations)
