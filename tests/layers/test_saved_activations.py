"""What the layers keep for the backward pass, and the arithmetic that spares it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cotnet import CoTLayer, CoXtLayer
from cotnet.layers.attention import ContextAttention
from cotnet.layers.fusion import global_mean


@pytest.mark.parametrize("groups", [1, 2])
def test_the_first_convolution_equals_that_of_the_joined_pair(groups):
    attention = ContextAttention(32, 3, groups=groups).double()
    x, static = torch.randn(2, 2, 32, 5, 4, dtype=torch.float64).unbind(0)
    pair = torch.cat([x, static], 1) if groups == 1 else torch.stack([x, static], 2).flatten(1, 2)
    torch.testing.assert_close(attention.reduce_pair(x, static), attention.reduce.conv(pair))


@pytest.mark.parametrize("layer", [CoTLayer, CoXtLayer])
def test_the_joined_pair_is_not_kept(layer):
    dim, layer = 32, layer(32)
    shapes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: shapes.append(tuple(t.shape)) or t, lambda t: t):
        layer(torch.randn(2, dim, 6, 6, requires_grad=True))
    assert (2, dim, 6, 6) in shapes
    assert (2, 2 * dim, 6, 6) not in shapes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_global_mean(dtype):
    x = (1 + torch.rand(2, 3, 300, 250)).to(dtype)  # in float16 the sum would be infinite
    torch.testing.assert_close(global_mean(x), F.adaptive_avg_pool2d(x.float(), 1).to(dtype))


def test_double_backward():
    layer = CoTLayer(8).double()
    layer.fusion.norm = nn.Identity()
    x = torch.randn(1, 8, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer.fusion, (x, torch.randn_like(x).requires_grad_()))
    assert torch.autograd.gradgradcheck(layer.attention.reduce_pair, (x, x))
