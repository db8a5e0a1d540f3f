import pytest
import torch
from torch import nn

from cotnet.detection.cascade import CascadeRoIHeads
from cotnet.detection.detector import DETECTORS, create_detector
from cotnet.detection.pyramid import PyramidBackbone, create_body

SMALL = {"num_classes": 3, "channels": 32, "min_size": 96, "max_size": 128, "box_detections_per_img": 7}


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
    model = create_detector(detector, "cotnet18", **SMALL).train()
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
        again = create_detector(detector, "cotnet18", **SMALL).eval()
        again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
        torch.testing.assert_close(again(images), found)
    for result, image in zip(found, images, strict=True):
        assert ("masks" in result) == ("mask" in detector)
        assert len(result["boxes"]) <= 7
        height, width = image.shape[1:]
        assert (result["boxes"] >= 0).all()
        assert (result["boxes"] <= torch.tensor([width, height, width, height]) + 1e-3).all()


def test_frozen_parts_keep_their_statistics():
    model = create_detector("faster_rcnn", "cotnet18", **SMALL).train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    model(*batch())
    moved = {name for name, value in model.backbone.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert not [name for name in moved if name.startswith(("body.conv1", "body.bn1", "body.layer1"))]
    assert any(name.startswith("body.layer2") for name in moved)


def test_frozen_norms_stay_still_when_they_are_made_to_synchronise():
    backbone = PyramidBackbone(create_body("resnet10t"), 32, frozen=1)
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(backbone).train()
    norms = {name: module for name, module in synchronised.named_modules() if isinstance(module, nn.SyncBatchNorm)}
    assert {name for name, norm in norms.items() if not norm.training} == {
        name for name in norms if name.startswith(("body.conv1", "body.bn1"))
    }
    assert "body.bn1" in norms


def test_every_norm_of_the_body_can_be_kept():
    backbone = PyramidBackbone(create_body("resnet10t"), 32, frozen=0, frozen_norm=True).train()
    norms = [module for module in backbone.body.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)
    assert all(conv.weight.requires_grad for conv in backbone.body.modules() if isinstance(conv, nn.Conv2d))


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto", "mobilenetv3_small_050", "regnety_002"])
@pytest.mark.parametrize("frozen", [0, 1, 2, 5])
def test_any_network_with_stage_maps(name, frozen):
    backbone = PyramidBackbone(create_body(name), 32, frozen=frozen).eval()
    maps = backbone(torch.rand(1, 3, 64, 96))
    sizes = [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)]
    assert [tuple(x.shape) for x in maps.values()] == [(1, 32, *size) for size in sizes]
    assert list(maps) == ["0", "1", "2", "3", "pool"]
    still = [not parameter.requires_grad for parameter in backbone.body.parameters()]
    assert sum(still) == 0 if frozen == 0 else all(still) if frozen == 5 else 0 < sum(still) < len(still)
    assert still == sorted(still, reverse=True)


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
