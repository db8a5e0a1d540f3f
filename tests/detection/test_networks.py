import re

import pytest
import torch

from cotnet.detection.cascade import CascadeRoIHeads
from cotnet.detection.networks import DETECTORS, create_detector, detection_limits, set_detection_limits

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


@pytest.mark.parametrize("detector", ["faster_rcnn", "cascade_mask_rcnn"])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_detections_do_not_depend_on_the_other_images_of_the_batch(detector, norm):
    """CoTNet's global pooling and GroupNorm would see the padding that a larger image brings."""
    torch.manual_seed(0)
    options = {**SMALL, "norm": norm, "box_score_thresh": 0.0, "box_detections_per_img": 20}
    model = create_detector(detector, "cotnet18_half", **options).eval()
    images = [torch.rand(3, 64, 80), torch.rand(3, 96, 48), torch.rand(3, 64, 80), torch.rand(3, 40, 120)]
    with torch.no_grad():
        together, alone = model(images), [model([image])[0] for image in images]
        reordered = model(images[::-1])[::-1]
    for found, again, wanted in zip(together, reordered, alone, strict=True):
        assert len(wanted["boxes"]) == 20
        for part, value in wanted.items():
            torch.testing.assert_close(found[part], value, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(again[part], value, atol=1e-4, rtol=1e-4)


def test_nothing_is_frozen_by_itself():
    model = create_detector("faster_rcnn", "cotnet18", **SMALL)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_limits_are_known_and_can_be_changed():
    model = create_detector("faster_rcnn", "resnet10t", **SMALL, rpn_post_nms_top_n_test=50)
    assert detection_limits(model) == (7, 0.05)
    set_detection_limits(model, box_detections_per_img=120, box_score_thresh=0.0)
    assert detection_limits(model) == (120, 0.0)
    torch.manual_seed(0)
    with torch.no_grad():
        assert len(model.eval()([torch.rand(3, 96, 96)])[0]["boxes"]) == 120
    for options, message in (
        ({"box_detections_per_img": 0}, "box_detections_per_img must be at least 1, got 0"),
        ({"box_score_thresh": 1.0}, r"box_score_thresh must be at least 0 and below 1, got 1\.0"),
    ):
        with pytest.raises(ValueError, match=message):
            set_detection_limits(model, **options)


@pytest.mark.parametrize(
    ("detector", "option", "message"),
    [
        ("faster_rcnn", "box_detections_per_image", "did you mean box_detections_per_img?"),
        ("mask_rcnn", "nonsense", "there are anchor_sizes, "),
        ("cascade_rcnn", "box_fg_iou_thresh", "has no option 'box_fg_iou_thresh'"),
        ("faster_rcnn", "rpn_head", "has no option 'rpn_head'"),
    ],
)
def test_unknown_options_are_refused_with_those_there_are(detector, option, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        create_detector(detector, "resnet10t", **SMALL, **{option: 1})


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


def test_an_image_of_which_nothing_would_be_left_is_one_line():
    model = create_detector("faster_rcnn", "resnet10t", **SMALL).eval()
    with pytest.raises(ValueError, match=r"an image of 5000 x 3 pixels is too narrow: .*; cut it into parts"):
        model([torch.rand(3, 3, 5000)])
