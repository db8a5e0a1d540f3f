import pytest
import timm
import torch

import cotnet
from cotnet.detection import create_detector, load_detector
from cotnet.detection.load import TASK, load_start
from cotnet.files.weights import WeightsCard, write_weights

OPTIONS = {"detector": "cascade_rcnn", "norm": "group", "channels": 32, "frozen": 0, "min_size": 64, "max_size": 96}
PREPROCESSING = {
    "input_size": [3, 64, 96],
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
    "interpolation": "bilinear",
    "crop_pct": 1.0,
}


def card(**changes) -> WeightsCard:
    fields = {"task": TASK, "model": "cotnet18_half", "kwargs": OPTIONS, "class_names": ["a", "b"]}
    return WeightsCard(**{**fields, "preprocessing": PREPROCESSING, "data": {"category_ids": [1, 2]}} | changes)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return create_detector(backbone="cotnet18_half", num_classes=2, **OPTIONS).eval()


def test_untrained_weights_round_trip_also_fused(network, tmp_path):
    write_weights(tmp_path / "w.safetensors", network.state_dict(), card())
    again, found = load_detector(tmp_path / "w.safetensors")
    assert found == card()
    image = [torch.rand(3, 64, 80)]
    fused, _ = load_detector(tmp_path / "w.safetensors", fused=True)
    with torch.no_grad():
        torch.testing.assert_close(again(image), network(image))
        assert len(fused(image)[0]["boxes"]) > 0
        for ours, theirs in zip(
            fused.backbone(image[0][None]).values(), network.backbone(image[0][None]).values(), strict=True
        ):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in fused.backbone.body.modules()) < 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "classification"}, "is a network for classification, not for detection"),
        ({"data": {}}, r"has the category ids \[\] for 2 classes"),
        ({"kwargs": {**OPTIONS, "backbone_options": {"pretrained": True}}}, "may not include pretrained"),
        (
            {"kwargs": {**OPTIONS, "detector": "yolo"}},
            "describes a network for detection that cannot be built: unknown detector",
        ),
        ({"kwargs": {**OPTIONS, "channels": 64}}, "does not fit cotnet18_half"),
    ],
)
def test_a_foreign_file_is_refused(network, changes, message, tmp_path):
    write_weights(tmp_path / "w.safetensors", network.state_dict(), card(**changes))
    with pytest.raises(ValueError, match=message):
        load_detector(tmp_path / "w.safetensors")


def test_starts_from_a_classifier_and_from_released_detection_names(network):
    classifier = timm.create_model("cotnet50", num_classes=3)
    detector = create_detector(backbone="cotnet50", num_classes=2, **OPTIONS)
    with pytest.warns(UserWarning, match="classifier is dropped"):
        load_start(detector, classifier.state_dict())
    assert torch.equal(detector.backbone.body.layer4[2].conv3.weight, classifier.layer4[2].conv3.weight)
    released = cotnet.to_official(classifier.state_dict())
    from cotnet.models.official_detection_names import to_detection

    fresh = create_detector(backbone="cotnet50", num_classes=2, **OPTIONS)
    load_start(fresh, cotnet.from_official(to_detection(released)))
    assert torch.equal(fresh.backbone.body.layer4[2].conv3.weight, classifier.layer4[2].conv3.weight)


def test_starts_from_a_detector_of_other_classes(network):
    other = create_detector(backbone="cotnet18_half", num_classes=5, **OPTIONS)
    with pytest.warns(UserWarning, match="6 of .* entries keep their random weights: roi_heads.box_predictor.0"):
        load_start(other, network.state_dict())
    assert torch.equal(other.rpn.head.cls_logits.weight, network.rpn.head.cls_logits.weight)
    with pytest.raises(ValueError, match="belong to another backbone"):
        load_start(create_detector(backbone="resnet18", num_classes=2, **OPTIONS), network.state_dict())
