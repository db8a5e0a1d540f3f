"""Grad-CAM on networks whose answer is known, and on ours."""

import pytest
import timm
import torch
from torch import nn

from cotnet.viz import grad_cam, last_feature_map

pytest.importorskip("captum")


class Corners(nn.Module):
    """Class 0 is the mean of channel 0, class 1 that of channel 1."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 2, 1, bias=False)
        self.fc = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.body.weight.copy_(torch.eye(2, 3)[:, :, None, None])
            self.fc.weight.copy_(torch.eye(2))

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))


def test_it_finds_the_planted_places():
    x = torch.zeros(1, 3, 4, 6)
    x[0, 0, 0, 1], x[0, 1, 3, 5] = 2.0, 1.0
    network = Corners()
    maps = grad_cam(network, x.repeat(2, 1, 1, 1), [0, 1])
    assert maps.shape == (2, 4, 6)
    assert [divmod(int(m.argmax()), 6) for m in maps] == [(0, 1), (3, 5)]
    assert all((m > 0).sum() == 1 for m in maps)


def test_the_network_is_left_as_it_was():
    network = timm.create_model("cotnet_nano", num_classes=3).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    x = torch.randn(1, 3, 16, 24)
    assert last_feature_map(network, x) == "layer3"
    assert grad_cam(network, x, [2]).shape == (1, 4, 6)
    assert network.training
    assert not x.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert not any(part._forward_hooks or part._backward_hooks for part in network.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "layer9"}, "no layer 'layer9'; its modules are body, fc"),
        ({"layer": "fc"}, "the output of fc is not a feature map"),
        ({"classes": [7]}, r"Grad-CAM of the classes \[7\] at body is not possible"),
    ],
)
def test_wrong_choices(options, message):
    with pytest.raises(ValueError, match=message):
        grad_cam(Corners(), torch.rand(1, 3, 4, 4), **{"classes": [0], **options})


def test_a_network_without_feature_maps():
    with pytest.raises(ValueError, match="no module of the network gives a feature map"):
        last_feature_map(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.rand(1, 3, 2, 2))
