import pytest


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
        (lambda c: c["images"][2].pop("file_name"), r"images\[2\] has no file_name"),
        (lambda c: [i.update(file_name="x" + i["file_name"]) for i in c["images"]], "none of its 8 images is in"),
        (lambda c: [a.update(category_id=5) for a in c["annotations"]], "no usable annotation; 24 annotations of"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, "x", 4]), r"annotations\[1\] has the bbox \[1, 2, 'x', 4\]"),
        (lambda c: c["images"][0].update(id=True), r"images\[0\] has the id True, expected an integer"),
        (lambda c: c["images"][0].update(id=10**30), r"images\[0\] has the id 1000"),
        (lambda c: c["annotations"][0].update(iscrowd="no"), r"annotations\[0\] has the iscrowd 'no', expected 0 or 1"),
        (lambda c: c["categories"].append({"id": 7, "name": "x"}), "categories red and x have the same id 7"),
    ],
)
def test_a_file_that_is_of_no_use(coco_files, change, message):
    with pytest.raises(ValueError, match=message):
        coco_files.edit(change).read()


def test_missing_and_broken_files(coco_files):
    coco_files.annotations.write_text("boxes")
    with pytest.raises(ValueError, match=r"annotations\.json is not JSON"):
        coco_files.read()
    coco_files.annotations.unlink()
    with pytest.raises(ValueError, match=r"annotations\.json does not exist"):
        coco_files.read()


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
    assert "1 unusable areas taken from the box: annotation 2 in 0.png" in report
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
