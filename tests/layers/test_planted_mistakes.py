"""Each mistake that ports of CoT are known for, planted: the parity test must see it."""

import pytest
import torch
import torch.nn.functional as F

from cotnet import CoTLayer, local_aggregation
from tests.layers.test_cot import by_unfold, run, worst


class Planted(CoTLayer):
    """A CoT layer whose steps can be replaced one by one."""

    def aggregate(self, value, weight):
        return local_aggregation(value, weight, self.kernel_size, dilation=self.dilation)

    def weigh(self, x, static):
        return self.attention(x, static)

    def fuse(self, dynamic, static):
        return self.fusion(dynamic, static)

    def forward(self, x):
        static = F.relu(self.static_context(x))
        dynamic = self.aggregate(self.value(x), self.weigh(x, static))
        return self.fuse(F.silu(self.dynamic_norm(dynamic)), static)


class ContiguousHeads(Planted):
    def aggregate(self, value, weight):
        return local_aggregation(value, weight, self.kernel_size, grouping="contiguous")


class FlippedTaps(Planted):
    def aggregate(self, value, weight):
        return super().aggregate(value, weight.flip(2))


class SoftmaxOverTaps(Planted):
    def weigh(self, x, static):
        return super().weigh(x, static).softmax(2)


class MeanOverTaps(Planted):
    """The widely copied "CoTAttention" in part: taps averaged, no neighbours read."""

    def aggregate(self, value, weight):
        return value * weight.mean(2).repeat(1, 8, 1, 1)


class SoftmaxOverPositions(Planted):
    """The widely copied "CoTAttention": taps averaged, then normalised over the whole map."""

    def aggregate(self, value, weight):
        share = weight.mean(2).flatten(2).softmax(2).view(weight.shape[0], -1, *weight.shape[3:])
        return value * share.repeat(1, 8, 1, 1)


class KeyBeforeInput(Planted):
    def weigh(self, x, static):
        return super().weigh(static, x)


class SwappedFusion(Planted):
    def fuse(self, dynamic, static):
        return super().fuse(static, dynamic)


class NormAfterFusion(Planted):
    def fuse(self, dynamic, static):
        return F.batch_norm(super().fuse(dynamic, static), None, None, training=True)


class ReluAfterFusion(Planted):
    def fuse(self, dynamic, static):
        return F.relu(super().fuse(dynamic, static))


class NoSilu(Planted):
    def forward(self, x):
        static = F.relu(self.static_context(x))
        return self.fuse(self.dynamic_norm(self.aggregate(self.value(x), self.weigh(x, static))), static)


MISTAKES = [
    ContiguousHeads,
    FlippedTaps,
    SoftmaxOverTaps,
    MeanOverTaps,
    SoftmaxOverPositions,
    KeyBeforeInput,
    SwappedFusion,
    NormAfterFusion,
    ReluAfterFusion,
    NoSilu,
]


@pytest.mark.parametrize("name", ["cot64_eval", "cot64_train"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_caught(mistake, name, layer_parity, parity_weights):
    case, tensors = layer_parity.cases[name], layer_parity.tensors(name)
    actual = run(case, tensors, parity_weights.fill, mistake(case["dim"]))
    assert worst({"y": actual["y"]}, {"y": tensors["y"]}) > 1000


def test_the_scaffold_itself_is_right(layer_parity, parity_weights):
    case, tensors = layer_parity.cases["cot64_train"], layer_parity.tensors("cot64_train")
    assert worst(run(case, tensors, parity_weights.fill, Planted(case["dim"])), tensors) <= 1


class StaticDilationIgnored(CoTLayer):
    """Takes the option and does not use it in the convolution."""

    def __init__(self, dim, kernel_size=3, *, dilation=1):
        super().__init__(dim, kernel_size)
        self.dilation = dilation


class DynamicDilationIgnored(CoTLayer):
    """Takes the option and does not use it in the aggregation."""

    def __init__(self, dim, kernel_size=3, *, dilation=1):
        super().__init__(dim, kernel_size, dilation=dilation)
        self.dilation = 1


@pytest.mark.parametrize("mistake", [StaticDilationIgnored, DynamicDilationIgnored])
def test_ignored_dilation_is_caught(mistake):
    torch.manual_seed(0)
    layer, x = mistake(32, dilation=2).double().eval(), torch.randn(1, 32, 9, 9, dtype=torch.float64)
    assert not torch.allclose(layer(x), by_unfold(layer, x, 3, 2), atol=1e-3)
