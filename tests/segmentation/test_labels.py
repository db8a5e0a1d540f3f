import math

import numpy as np
import pytest
import torch
from faster_coco_eval import mask as rle
from PIL import Image

from cotnet.detection.coco.dataset import CocoDataset
from cotnet.segmentation.labels import PixelTally, describe_classes, index_image, label_map, mean_iou, paint, regions


def test_the_smaller_object_lies_on_top():
    masks = torch.zeros(2, 4, 4)
    masks[0, 1:3, 1:3] = 1
    masks[1, :3] = 1
    labels = label_map({"labels": torch.tensor([2, 1]), "masks": masks}, (4, 4))
    assert labels.tolist() == [[1, 1, 1, 1], [1, 2, 2, 1], [1, 2, 2, 1], [0, 0, 0, 0]]
    assert label_map({"labels": torch.zeros(0), "masks": torch.zeros(0, 2, 2)}, (2, 2)).tolist() == [[0, 0], [0, 0]]


def test_a_crowd_is_of_its_class(coco_files):
    images = CocoDataset(coco_files.read(masks=True), coco_files.files, masks=True)
    image, target = images[3]
    assert len(target["masks"]) == 2
    assert len(target["crowd_masks"]) == 1
    labels = label_map(target, image.shape[-2:])
    assert (labels[target["crowd_masks"][0].bool()] == target["crowd_labels"][0]).all()


def test_mean_iou_of_counted_pixels():
    mean, each = mean_iou(torch.tensor([[6, 2, 0], [1, 3, 0], [0, 0, 0]]))
    assert each[:2] == pytest.approx([6 / 9, 3 / 6])
    assert math.isnan(each[2])
    assert mean == pytest.approx((6 / 9 + 3 / 6) / 2)


def test_the_tally_counts_as_loops_do():
    torch.manual_seed(0)
    tally, expected = PixelTally(3), torch.zeros(3, 3, dtype=torch.int64)
    for size in ((5, 7), (4, 4)):
        masks = torch.rand(2, *size) > 0.5
        target = {"labels": torch.tensor([1, 2]), "masks": masks}
        answer = torch.randint(0, 3, size, dtype=torch.uint8)
        tally.update(([torch.rand(3, *size)], [target]), [answer])
        for row, column in zip(label_map(target, size).flatten().tolist(), answer.flatten().tolist(), strict=True):
            expected[row, column] += 1
    assert torch.equal(tally.counts, expected)
    assert (tally.images, len(tally.samples)) == (2, 2)


def test_a_map_of_classes_keeps_its_values_in_a_file(tmp_path):
    labels = np.array([[0, 1, 2], [2, 2, 0]], np.uint8)
    index_image(labels, 3).save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), labels)
        shown = np.asarray(image.convert("RGB"))
    for entry in describe_classes(["cat", "dog"], [7, 3]):
        assert shown[labels == entry["value"]].tolist() == [entry["color"]] * int((labels == entry["value"]).sum())
    assert [(entry["name"], entry["category_id"]) for entry in describe_classes(["cat"], [7])][1] == ("cat", 7)
    painted = np.asarray(paint(Image.new("RGB", (3, 2), "white"), labels))
    assert (painted[labels == 0] == 255).all()
    assert (painted[labels > 0] < 255).any(-1).all()


def test_regions_are_run_lengths_of_each_class():
    labels = np.array([[0, 1, 1], [2, 2, 0]], np.uint8)
    first, second = regions(labels, [7, 3])
    assert (first["category_id"], first["area"], first["bbox"]) == (7, 2, [1, 0, 2, 1])
    assert second["category_id"] == 3
    np.testing.assert_array_equal(rle.decode(second["segmentation"]).reshape(2, 3), labels == 2)
