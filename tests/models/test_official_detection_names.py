import pytest
import timm
import torch

import cotnet
from cotnet.models.family import BODIES

NAMES = [name for name in BODIES if name not in ("cotnet18", "cotnet_nano")]


@pytest.mark.parametrize("name", NAMES)
def test_every_backbone_entry_comes_back(name):
    with torch.device("meta"):
        ours = timm.create_model(name).state_dict()
    detection = cotnet.to_official(ours, detection=True)
    assert len(set(detection)) == len(detection) == len(ours) - 2
    assert all(entry.startswith("backbone.bottom_up.") for entry in detection)
    back = cotnet.from_official(detection)
    assert list(back) == [entry for entry in ours if not entry.startswith("fc.")]
    assert all(back[entry] is ours[entry] for entry in back)
    bare = {entry.removeprefix("backbone.bottom_up."): value for entry, value in detection.items()}
    assert cotnet.from_official(bare).keys() == back.keys()


@pytest.mark.parametrize(
    ("name", "classifier", "detector"),
    [
        ("cotnet50", "conv1.weight", "stem.conv1.weight"),
        ("cotnet50", "bn1.running_mean", "stem.conv1.norm.running_mean"),
        ("cotnet50", "layer1.0.conv1.weight", "res2.0.conv1.weight"),
        ("cotnet50", "layer1.0.bn1.weight", "res2.0.conv1.norm.weight"),
        ("cotnet50", "layer4.2.bn3.bias", "res5.2.conv3.norm.bias"),
        ("cotnet50", "layer2.0.downsample.0.weight", "res3.0.shortcut.weight"),
        ("cotnet50", "layer2.0.downsample.1.weight", "res3.0.shortcut.norm.weight"),
        ("cotnet50", "layer1.1.conv2.key_embed.0.weight", "res2.1.conv2.key_embed.0.weight"),
        ("cotnet50", "layer1.1.conv2.key_embed.1.weight", "res2.1.conv2.key_embed.0.norm.weight"),
        ("cotnet50", "layer1.1.conv2.embed.1.bias", "res2.1.conv2.embed.0.norm.bias"),
        ("cotnet50", "layer1.1.conv2.embed.3.weight", "res2.1.conv2.embed.2.weight"),
        ("cotnet50", "layer1.1.conv2.embed.4.weight", "res2.1.conv2.embed.3.weight"),
        ("cotnet50", "layer1.1.conv2.conv1x1.1.weight", "res2.1.conv2.conv1x1.0.norm.weight"),
        ("cotnet50", "layer1.1.conv2.bn.weight", "res2.1.conv2.bn.weight"),
        ("cotnet50", "layer1.1.conv2.se.1.weight", "res2.1.conv2.se.0.norm.weight"),
        ("cotnet50", "layer1.1.conv2.se.3.bias", "res2.1.conv2.se.2.bias"),
        ("se_cotnetd_50", "conv1.0.weight", "stem.conv1.0.weight"),
        ("se_cotnetd_50", "conv1.6.weight", "stem.conv1.6.weight"),
        ("se_cotnetd_50", "bn1.weight", "stem.conv1.7.weight"),
        ("se_cotnetd_50", "layer1.0.downsample.1.weight", "res2.0.shortcut.1.weight"),
        ("se_cotnetd_50", "layer1.0.downsample.2.bias", "res2.0.shortcut.1.norm.bias"),
    ],
)
def test_names(name, classifier, detector):
    with torch.device("meta"):
        ours = timm.create_model(name).state_dict()
    official = dict(zip(cotnet.to_official(ours), ours, strict=True))
    detection = cotnet.to_official({entry: entry for entry in ours}, detection=True)
    assert detection["backbone.bottom_up." + detector] == official[classifier]


def test_a_released_detector_loads_its_backbone(tmp_path):
    torch.manual_seed(0)
    source = timm.create_model("cotnet18", num_classes=3)
    entries = cotnet.to_official(source.state_dict(), detection=True)
    # Frozen norms count no batches; the other parts of the detector are not the backbone's.
    entries = {name: value for name, value in entries.items() if not name.endswith("num_batches_tracked")}
    entries["roi_heads.box_predictor.weight"] = torch.ones(1)
    torch.save({"model": entries}, tmp_path / "detector.pth")
    overlay = {"file": str(tmp_path / "detector.pth")}
    with pytest.warns(UserWarning, match="no classifier"):
        model = timm.create_model("cotnet18", pretrained=True, pretrained_cfg_overlay=overlay, num_classes=5)
    backbone = timm.create_model("cotnet18", pretrained=True, pretrained_cfg_overlay=overlay, features_only=True)
    x = torch.randn(1, 3, 64, 64)
    expected = source.eval().forward_features(x)
    torch.testing.assert_close(model.eval().forward_features(x), expected)
    torch.testing.assert_close(backbone.eval()(x)[-1], expected)
