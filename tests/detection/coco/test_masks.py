import pytest

from cotnet.detection.coco.dataset import CocoDataset


def test_objects_without_a_usable_mask_are_left_out_where_masks_are_wanted(coco_files):
    def spoil(content):
        content["annotations"][1].pop("segmentation")
        content["annotations"][2]["segmentation"] = [[1, 2, 3, 4]]
        content["annotations"][3]["segmentation"]["size"] = [5, 5]

    assert not coco_files.edit(spoil).read().problems
    annotations = coco_files.read(masks=True)
    report = annotations.report()
    assert "3 objects without a usable mask left out: annotation 2 in 0.png (no mask), annotation 3 in 0.p" in report
    assert "annotation 4 in 1.png (run lengths of the size [5, 5], not [64, 96])" in report
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
