import math

import pytest
import torch

from cotnet.detection.semantic import create_segmenter, label_map, mean_iou


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (72, 100)])
def test_every_pixel_gets_logits_and_every_parameter_a_gradient(size):
    network = create_segmenter("resnet10t", num_classes=2, channels=32)
    logits = network(torch.rand(2, 3, *size))
    assert logits.shape == (2, 3, *size)
    logits.square().mean().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


def test_the_smaller_object_lies_on_top():
    masks = torch.zeros(2, 4, 4)
    masks[0, 1:3, 1:3] = 1
    masks[1, :3] = 1
    labels = label_map({"labels": torch.tensor([2, 1]), "masks": masks}, (4, 4))
    assert labels.tolist() == [[1, 1, 1, 1], [1, 2, 2, 1], [1, 2, 2, 1], [0, 0, 0, 0]]
    assert label_map({"labels": torch.zeros(0), "masks": torch.zeros(0, 2, 2)}, (2, 2)).tolist() == [[0, 0], [0, 0]]


def test_mean_iou_of_counted_pixels():
    mean, each = mean_iou(torch.tensor([[6, 2, 0], [1, 3, 0], [0, 0, 0]]))
    assert each[:2] == pytest.approx([6 / 9, 3 / 6])
    assert math.isnan(each[2])
    assert mean == pytest.approx((6 / 9 + 3 / 6) / 2)
