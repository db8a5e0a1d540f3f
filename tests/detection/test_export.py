from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from cotnet.detection import create_detector
from cotnet.detection.export import MAPS, _same_objects, compare, export_backbone, export_detector

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

SMALL = {"norm": "group", "channels": 32, "frozen": 0, "min_size": 64, "max_size": 96, "num_classes": 2}
SMALL |= {"rpn_pre_nms_top_n_test": 60, "rpn_post_nms_top_n_test": 30, "box_score_thresh": 0.0}
SMALL |= {"box_detections_per_img": 10}


def detector(kind: str):
    torch.manual_seed(0)
    return create_detector(kind, "resnet10t", **SMALL).eval()


@pytest.mark.parametrize("kind", ["faster_rcnn", "cascade_mask_rcnn"])
def test_onnxruntime_finds_the_same(kind, tmp_path):
    network = detector(kind)
    path = tmp_path / "detector.onnx"
    agreement = export_detector(network, path, example=torch.rand(3, 48, 64))
    assert (agreement.images, agreement.detections) == (3, 30)
    assert agreement.boxes < 0.05
    assert agreement.scores < 1e-4
    assert [one.name for one in tmp_path.iterdir()] == ["detector.onnx"]
    with torch.no_grad():
        network.rpn.head.cls_logits.bias += 1  # moves nothing
        head = network.roi_heads.box_predictor
        (head[0] if kind.startswith("cascade") else head).cls_score.bias[1] += 1
    with pytest.raises(RuntimeError, match="onnxruntime"):
        compare(network, path, [torch.rand(3, 48, 64)])


def test_objects_are_compared_in_any_order():
    boxes, labels = np.array([[0, 0, 4, 4], [0, 0, 4, 4], [9, 9, 12, 12.0]]), np.array([1, 2, 1])
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        found = {"boxes": boxes[order] + 1e-3, "labels": labels[order]}
        matched = _same_objects({"boxes": boxes, "labels": labels}, found)
        assert [order[i] for i in matched] == [0, 1, 2]


def test_nothing_found_is_nothing_compared(tmp_path):
    network = detector("faster_rcnn")
    network.roi_heads.score_thresh = 1.0
    with pytest.raises(ValueError, match="finds nothing on the example"):
        export_detector(network, tmp_path / "detector.onnx", example=torch.rand(3, 48, 64))
    assert not list(tmp_path.iterdir())


def test_backbone_and_pyramid(tmp_path):
    network = detector("faster_rcnn")
    assert export_backbone(network, tmp_path / "maps.onnx", size=64) < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "maps.onnx", providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_outputs()] == list(MAPS)
    images = torch.rand(3, 3, 64, 160)
    with torch.no_grad():
        expected = network.backbone(images)
    actual = session.run(None, {"images": images.numpy()})
    for wanted, value in zip(expected.values(), actual, strict=True):
        np.testing.assert_allclose(value, wanted.numpy(), atol=1e-4, rtol=1e-4)


def test_a_backbone_that_answers_differently_is_not_written(tmp_path):
    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 8, 3)

        def forward(self, x):
            return {name: self.convolution(x) for name in MAPS}

    with pytest.raises(ValueError, match="the backbone's maps differ in onnxruntime"):
        export_backbone(SimpleNamespace(backbone=Maps()), tmp_path / "maps.onnx", size=64, tolerance=1e-12)
    assert not list(tmp_path.iterdir())
