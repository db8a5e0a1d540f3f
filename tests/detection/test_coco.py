import pytest
import torch

pytest.importorskip("faster_coco_eval")

from cotnet.detection.coco import CocoPictures, collate, read_coco


def test_reads_pictures_and_targets(coco_files):
    annotations = read_coco(coco_files.annotations, coco_files.pictures)
    assert (annotations.category_ids, annotations.class_names) == ([3, 7], ["blue", "red"])
    assert not annotations.report()
    pictures = CocoPictures(annotations, coco_files.pictures, masks=True)
    assert len(pictures) == 8
    for picture, target in (pictures[i] for i in range(8)):
        assert picture.dtype == torch.float32
        assert 0 <= picture.min() < picture.max() <= 1
        assert type(picture) is type(target["boxes"]) is torch.Tensor
        for box, label, mask in zip(target["boxes"], target["labels"], target["masks"], strict=True):
            x1, y1, x2, y2 = box.int().tolist()
            assert mask.shape == picture.shape[1:]
            assert mask[y1:y2, x1:x2].all()
            assert mask.sum() == (x2 - x1) * (y2 - y1)
            assert picture[:, y1:y2, x1:x2].flatten(1).mean(1).argmax() == (2, 0)[label - 1]
    assert [len(pictures[i][1]["boxes"]) for i in (2, 3)] == [3, 2]  # a crowd is no example
    batch, targets = collate([pictures[0], pictures[1]])
    assert [tuple(picture.shape) for picture in batch] == [(3, 80, 64), (3, 64, 96)]
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

    annotations = read_coco(coco_files.edit(spoil).annotations, coco_files.pictures)
    report = annotations.report()
    assert "2 boxes of no area or outside their picture left out: annotation 1 [10, 10, 0, 5] in 0.png, " in report
    assert "1 annotations of the unknown category 99 left out: annotation 3" in report
    assert "1 annotations of unknown pictures left out: annotation 4" in report
    assert "1 boxes over the edge cut: annotation 5 in 1.png" in report
    assert "1 missing pictures left out: gone.png" in report
    assert "1 pictures outside the folder left out: ../annotations.json" in report
    assert sum(map(len, annotations.objects.values())) == 20
    assert annotations.objects[11][0]["bbox"] == [0.0, 0.0, 30.0, 30.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(annotations=[]), "has no annotations"),
        (lambda c: c.pop("categories"), "no list of categories; it is not in COCO's format"),
        (lambda c: c["images"][2].pop("height"), r"images\[2\] has no height"),
        (lambda c: [i.update(file_name="x" + i["file_name"]) for i in c["images"]], "none of its 8 pictures is in"),
        (lambda c: [a.update(category_id=5) for a in c["annotations"]], "no usable annotation; 24 annotations of"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, "x", 4]), r"annotations\[1\] has the bbox \[1, 2, 'x', 4\]"),
    ],
)
def test_a_file_that_is_of_no_use(coco_files, change, message):
    with pytest.raises(ValueError, match=message):
        read_coco(coco_files.edit(change).annotations, coco_files.pictures)


def test_missing_and_broken_files(coco_files, tmp_path):
    with pytest.raises(ValueError, match=r"none\.json does not exist"):
        read_coco(tmp_path / "none.json", coco_files.pictures)
    (tmp_path / "text.json").write_text("boxes")
    with pytest.raises(ValueError, match="is no JSON"):
        read_coco(tmp_path / "text.json", coco_files.pictures)


def test_a_broken_picture_is_named(coco_files):
    annotations = read_coco(coco_files.annotations, coco_files.pictures)
    path = coco_files.pictures / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"1\.png cannot be read"):
        CocoPictures(annotations, coco_files.pictures)[1]


def test_a_size_that_differs_is_named(coco_files):
    annotations = read_coco(coco_files.edit(lambda c: c["images"][0].update(width=65)).annotations, coco_files.pictures)
    with pytest.raises(ValueError, match=r"0\.png has 64 x 80 pixels, .* says 65 x 80"):
        CocoPictures(annotations, coco_files.pictures)[0]


def test_a_mask_detector_needs_masks(coco_files):
    coco_files.edit(lambda c: c["annotations"][1].pop("segmentation"))
    annotations = read_coco(coco_files.annotations, coco_files.pictures)
    assert CocoPictures(annotations, coco_files.pictures)[0]
    with pytest.raises(ValueError, match="annotation 2 has no segmentation"):
        CocoPictures(annotations, coco_files.pictures, masks=True)[0]
