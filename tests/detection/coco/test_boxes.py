"""Boxes in other forms than COCO's are named."""

import pytest

from cotnet.detection.coco.boxes import clip_box


def corners(content):
    for one in content["annotations"]:
        x, y, w, h = one["bbox"]
        one["bbox"] = [x, y, x + w, y + h]


def test_corners_are_named(coco_files):
    report = coco_files.edit(corners).read().report()
    assert "all would fit" not in report
    assert "boxes reach over the edge of their image, and they would fit as corners [x1, y1, x2, y2]" in report


def test_normalised_boxes_are_named(coco_files):
    def normalise(content):
        sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
        for one in content["annotations"]:
            width, height = sizes[one["image_id"]]
            one["bbox"] = [edge / side for edge, side in zip(one["bbox"], (width, height) * 2, strict=True)]

    report = coco_files.edit(normalise).read().report()
    assert "all boxes lie within 0 to 1, as normalised coordinates do" in report


def test_crowds_alone_are_named(coco_files):
    report = coco_files.edit(lambda c: [one.update(iscrowd=1) for one in c["annotations"]]).read().report()
    assert "every annotation has iscrowd 1, and a detector learns nothing from crowds" in report


def test_sound_boxes_bring_no_hint(coco_files):
    assert coco_files.read().hints == []
    assert coco_files.edit(lambda c: c["annotations"][0].update(bbox=[50, 60, 40, 40])).read().hints == []


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([-5, -5, 20, 20], [0, 0, 15, 15]),
        ([90, 40, 20, 20], [90, 40, 10, 10]),
        ([200, 0, 5, 5], None),
        ([5, 5, -3, 3], None),
        ([5, 5, float("nan"), 3], None),
        ([5, 5, 0.001, 3], None),
    ],
)
def test_the_part_inside_the_image(box, expected):
    assert clip_box(box, 100, 50) == expected
