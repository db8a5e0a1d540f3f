import pytest
import torch

from cotnet.detection.cascade import CascadeRoIHeads
from cotnet.detection.networks import DETECTORS, create_detector

SMALL = {"num_classes": 3, "channels": 32, "min_size": 96, "max_size": 128, "box_detections_per_img": 7}
FROZEN = {**SMALL, "frozen": 2}


def batch():
    images = [torch.rand(3, 64, 80), torch.rand(3, 90, 60)]
    targets = [
        {
            "boxes": torch.tensor([[10.0, 10.0, 60.0, 50.0], [5.0, 5.0, 20.0, 20.0]]),
            "labels": torch.tensor([1, 3]),
            "masks": (torch.rand(2, 64, 80) > 0.5).to(torch.uint8),
        },
        {
            "boxes": torch.zeros(0, 4),
            "labels": torch.zeros(0, dtype=torch.int64),
            "masks": torch.zeros(0, 90, 60).byte(),
        },
    ]
    return images, targets


@pytest.mark.parametrize("detector", DETECTORS)
def test_trains_detects_and_round_trips(detector, tmp_path):
    torch.manual_seed(0)
    model = create_detector(detector, "cotnet18", **FROZEN).train()
    images, targets = batch()
    losses = model(images, targets)
    assert isinstance(model.roi_heads, CascadeRoIHeads) == detector.startswith("cascade")
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        frozen = name.startswith(("backbone.body.conv1", "backbone.body.bn1", "backbone.body.layer1"))
        assert parameter.requires_grad != frozen
        assert (parameter.grad is None) == frozen, name
    model.eval()
    with torch.no_grad():
        found = model(images)
        torch.save(model.state_dict(), tmp_path / "weights.pt")
        again = create_detector(detector, "cotnet18", **FROZEN).eval()
        again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
        torch.testing.assert_close(again(images), found)
    for result, image in zip(found, images, strict=True):
        assert ("masks" in result) == ("mask" in detector)
        assert len(result["boxes"]) <= 7
        height, width = image.shape[1:]
        assert (result["boxes"] >= 0).all()
        assert (result["boxes"] <= torch.tensor([width, height, width, height]) + 1e-3).all()


def test_frozen_parts_keep_their_statistics():
    model = create_detector("faster_rcnn", "cotnet18", **FROZEN).train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    model(*batch())
    moved = {name for name, value in model.backbone.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert not [name for name in moved if name.startswith(("body.conv1", "body.bn1", "body.layer1"))]
    assert any(name.startswith("body.layer2") for name in moved)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detector": "fast_rcnn"}, "unknown detector 'fast_rcnn'; use one of faster_rcnn, "),
        ({"num_classes": 0}, "num_classes=0"),
        ({"norm": "layer"}, "expected norm 'batch', 'group' or 'none', got 'layer'"),
        ({"frozen": 6}, "frozen from 0 .* got 6"),
        ({"backbone": "cotnet5"}, "cotnet50"),
        ({"backbone": "vit_tiny_patch16_224"}, r"maps of strides \[16, 16, 16\], detection needs \[4, 8, 16, 32\]"),
        ({"backbone": "cotnet_nano"}, r"maps of strides \[1, 1, 2, 4\]"),
        ({"backbone_options": {"depth": 3}}, "cannot serve as a backbone: .*depth"),
    ],
)
def test_wrong_options_are_named(options, message):
    arguments = {"detector": "faster_rcnn", "backbone": "cotnet18", **SMALL} | options
    with pytest.raises(ValueError, match=message):
        create_detector(arguments.pop("detector"), arguments.pop("backbone"), **arguments)
