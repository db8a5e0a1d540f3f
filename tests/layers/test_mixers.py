"""The mixers by name, and the SE convolution."""

import pytest
import timm
import torch
from timm.layers import SplitAttn

from cotnet import layers
from cotnet.layers.mixers import MIXERS, create_mixer
from cotnet.layers.se_conv import SEConv
from cotnet.models import from_official


@pytest.mark.parametrize("name", MIXERS)
def test_each_mixer_stands_in_for_a_convolution(name):
    x = torch.randn(2, 32, 7, 6, requires_grad=True)
    layer = create_mixer(name, 32, 3, dilation=2)
    assert layer(x).shape == x.shape
    layer(x).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    if MIXERS[name].strided:
        assert create_mixer(name, 32, 3, stride=2)(x).shape == (2, 32, 4, 3)


def test_unknown_mixer_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'coxtt'; did you mean 'coxt'\?.*se_conv"):
        create_mixer("coxtt", 32)


def test_every_mixer_is_exported():
    made = {type(create_mixer(name, 32)) for name in MIXERS}
    exported = [getattr(layers, name) for name in layers.__all__]
    assert [kind for kind in made if kind not in exported and kind is not torch.nn.Conv2d] == []


@pytest.mark.parametrize("block", ["cotnet8_nano", "cotnet20_nano"])
def test_a_basic_block_takes_the_convolution_without_its_norm(block):
    networks = [timm.create_model(block, mixers=name, num_classes=2) for name in ("conv", "conv_linear")]
    kinds = [type(network.layer1[0].mixer) for network in networks]
    expected = [torch.nn.Conv2d] * 2 if block == "cotnet8_nano" else [layers.Conv, torch.nn.Sequential]
    assert kinds == expected


@pytest.mark.parametrize("stride", [1, 2])
def test_se_conv_equals_split_attention_with_one_split(stride):
    theirs = SplitAttn(
        64, 64, 3, stride=stride, padding=1, radix=1, act_layer=torch.nn.SiLU, norm_layer=torch.nn.BatchNorm2d
    ).double()
    ours = SEConv(64, stride=stride).double()
    ours.load_state_dict(from_official(theirs.state_dict()))
    x = torch.randn(2, 64, 7, 6, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)
