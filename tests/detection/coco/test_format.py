"""Values as people's tools write them: taken where they are clear, and counted; one line where they are not."""

import pytest


def test_ids_as_text_and_decimals_are_numbers(coco_files):
    def dress(content):
        for number, image in enumerate(content["images"]):
            image["id"] = (str(image["id"]), f"{image['id']:012}", float(image["id"]))[number % 3]
        for number, one in enumerate(content["annotations"]):
            one["image_id"] = (str(one["image_id"]), float(one["image_id"]), f"{one['image_id']:05}")[number % 3]
            one["category_id"] = str(one["category_id"])
        for category in content["categories"]:
            category["id"] = float(category["id"])

    plain = coco_files.read()
    dressed = coco_files.edit(dress).read()
    assert (dressed.category_ids, dressed.objects) == (plain.category_ids, plain.objects)
    assert "58 ids written as text or decimals read as numbers: categories[0] 7.0" in dressed.report()


def test_ids_that_are_names_get_numbers(coco_files):
    def dress(content):
        for one in content["annotations"]:
            one["image_id"] = f"img_{one['image_id']}"
            one["category_id"] = {7: "r", 3: "b"}[one["category_id"]]
        for image in content["images"][1:]:
            image["id"] = f"img_{image['id']}"
        content["images"][0]["id"] = 900
        content["categories"] = [{"id": "r", "name": "red"}, {"id": "b", "name": "blue"}]

    plain = coco_files.read()
    named = coco_files.edit(dress).read()
    assert [image["id"] for image in named.images] == [900, *range(901, 908)]
    assert named.class_names == ["red", "blue"]
    for before, after in zip(plain.images[1:], named.images[1:], strict=True):
        boxes = [one["bbox"] for one in plain.objects[before["id"]]]
        assert [one["bbox"] for one in named.objects[after["id"]]] == boxes
    report = named.report()
    assert "7 image ids that are no numbers replaced by numbers: img_11 by 901, " in report
    assert "3 annotations of unknown images left out" in report  # those of the image that is called 900 now


def test_sizes_flags_and_boxes_in_quotes_are_read(coco_files):
    def dress(content):
        for image in content["images"]:
            image["width"], image["height"] = float(image["width"]), str(image["height"])
        for one in content["annotations"]:
            one["iscrowd"] = str(one["iscrowd"])
            one["bbox"] = [str(edge) for edge in one["bbox"]]
            one["area"] = str(one["area"])

    plain = coco_files.read()
    dressed = coco_files.edit(dress).read()
    assert dressed.objects == plain.objects
    assert "8 sizes written as text or decimals read as numbers: 0.png" in dressed.report()
    assert "24 boxes with numbers in quotes: annotation 1" in dressed.report()


def test_flags_may_be_true_and_false(coco_files):
    def dress(content):
        for one in content["annotations"]:
            one["iscrowd"] = bool(one["iscrowd"])

    plain = coco_files.read()
    assert coco_files.edit(dress).read().objects == plain.objects


def test_sizes_are_read_from_images_where_the_file_has_none(coco_files):
    def strip(content):
        for number, image in enumerate(content["images"]):
            image["width"] = (None, 0, "wide", -1)[number % 4]
            image.pop("height")

    plain = coco_files.read()
    stripped = coco_files.edit(strip).read()
    assert [(i["width"], i["height"]) for i in stripped.images] == [(i["width"], i["height"]) for i in plain.images]
    assert "8 images without a usable size, which was read from them: 0.png" in stripped.report()


def test_a_category_may_be_called_by_a_number(coco_files):
    annotations = coco_files.edit(lambda c: c["categories"][0].update(name=7)).read()
    assert annotations.class_names == ["blue", "7"]
    assert "1 category names that are numbers taken as text: 7" in annotations.report()


def test_a_box_comes_from_its_mask(coco_files):
    def strip(content):
        for number, one in enumerate(content["annotations"]):
            one["bbox"] = [None, []][number % 2]
            if number % 3:
                one.pop("bbox")

    plain = coco_files.read()
    stripped = coco_files.edit(strip).read()
    for image, objects in plain.objects.items():
        boxes = [one["bbox"] for one in objects]
        assert [one["bbox"] for one in stripped.objects[image]] == [pytest.approx(box, abs=1e-6) for box in boxes]
    assert "24 boxes taken from their masks: annotation 1 in 0.png" in stripped.report()
    without = coco_files.edit(lambda c: c["annotations"][4].pop("segmentation")).read().report()
    assert "1 objects without a box or a usable mask left out: annotation 5 in 1.png (no mask)" in without


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["annotations"][2].update(bbox=[1, 2, 3, 4, 45]),
            r"annotations\[2\] has the bbox \[1, 2, 3, 4, 45\], .*; five numbers look like a rotated box",
        ),
        (lambda c: c["annotations"][2].update(bbox=list(range(8))), "eight numbers look like four corners"),
        (
            lambda c: c["annotations"][2].update(bbox={"x": 1}),
            r"annotations\[2\] has the bbox \{'x': 1\}, expected \[x",
        ),
        (lambda c: c["categories"][0].update(id=7.5), r"categories\[0\] has the id 7.5, expected an integer"),
        (lambda c: c["categories"][1].update(name=None), r"categories\[1\] has the name None, expected a name"),
        (lambda c: c["images"][1].update(id=None), r"images\[1\] has the id None, expected an integer"),
        (lambda c: c["images"][1].update(id="  "), r"images\[1\] has the id '  ', expected an integer"),
        (lambda c: c["annotations"][1].pop("image_id"), r"annotations\[1\] has no image_id"),
        (lambda c: c["annotations"][1].update(iscrowd=2), r"annotations\[1\] has the iscrowd 2, expected 0 or 1"),
        (lambda c: c["annotations"].append(5), r"annotations\[24\] is 5, expected an object"),
    ],
)
def test_what_stays_unclear_is_one_line(coco_files, change, message):
    with pytest.raises(ValueError, match=message):
        coco_files.edit(change).read()


@pytest.mark.parametrize(
    ("content", "tool"),
    [
        ('{"shapes": [], "imagePath": "1.jpg"}', "a file of LabelMe"),
        ('[{"data": {"image": "1.jpg"}, "annotations": []}]', "Label Studio's own JSON"),
        ('{"1.jpg123": {"filename": "1.jpg", "regions": []}}', "the VGG Image Annotator's own JSON"),
        ('[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}]', "COCO's result format"),
    ],
)
def test_files_of_other_tools_are_named(coco_files, content, tool):
    coco_files.annotations.write_text(content)
    with pytest.raises(ValueError, match=f"has no list of images; it is .*{tool}.*; export or convert it to COCO"):
        coco_files.read()
