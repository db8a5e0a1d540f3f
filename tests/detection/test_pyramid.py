import pytest
import torch
from torch import nn

from cotnet.detection.pyramid import PyramidBackbone, create_body


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
