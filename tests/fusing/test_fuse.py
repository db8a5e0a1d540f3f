"""What `fuse` folds and replaces in every kind of network, and what it leaves; the answers stay the same."""

import copy

import pytest
import timm
import torch
import torchvision
from timm.layers import convert_sync_batchnorm
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

import cotnet
from cotnet.fusing.cot import FusedCoT
from cotnet.layers.sync_norm import SyncBatchNorm
from cotnet.training.sync_norm import replace_norms
from tests.fusing.settled import answers, error, settle


def norms(model):
    return sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())


@pytest.mark.parametrize(
    "name", ["cotnet50", "cotnext50_2x48d", "se_cotnetd_50", "se_cotnetd_152", "cotnet18", "cotnet_nano"]
)
def test_family(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10).eval()
    before = copy.deepcopy(model.state_dict())
    fused, x = cotnet.fuse(model), torch.randn(2, 3, 64, 96)
    assert error(answers(fused, x), answers(model, x)) < 1e-5
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert any(isinstance(m, FusedCoT) for m in fused.modules())


@pytest.mark.parametrize(
    "name",
    [
        *("cotnet8_nano", "cotnet_nano", "cotnet20_nano", "cotnet18", "cotnet18_half", "cotnet50"),
        *("cotnext50_2x48d", "se_cotnetd_50"),
    ],
)
def test_no_batchnorm_is_left_in_the_family(name):
    with torch.device("meta"):
        model = timm.create_model(name)
    assert norms(model) > 0
    assert norms(cotnet.fuse(model)) == 0


@pytest.mark.parametrize("name", ["cotnet20_nano", "cotnet8_nano"])
def test_settled_statistics_are_folded(name):
    model = settle(timm.create_model(name))
    fused, x = cotnet.fuse(model), torch.randn(2, 3, 64, 64)
    assert norms(model) > 0
    assert norms(fused) == 0
    exact = answers(copy.deepcopy(model).double(), x.double())
    # No further from the truth than rounding takes the network itself.
    assert error(answers(fused, x).double(), exact) < max(1e-5, 3 * error(answers(model, x).double(), exact))


@pytest.mark.parametrize("layer", [cotnet.CoTLayer, cotnet.CoXtLayer])
@pytest.mark.parametrize("options", [{}, {"kernel_size": 5}, {"dilation": 2}])
def test_single_layers(layer, options):
    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.layer = nn.Conv2d(3, 96, 1), layer(96, **options)

        def forward(self, x):
            return self.layer(self.stem(x))

    model = settle(Alone(), 9)
    x = torch.randn(3, 96, 9, 14)
    fused = cotnet.fuse(model.layer)
    assert isinstance(fused, FusedCoT)
    assert error(answers(fused, x), answers(model.layer, x)) < 2e-6
    for dtype, bound in ((torch.bfloat16, 0.03), (torch.float64, 1e-12)):
        expected = answers(copy.deepcopy(model.layer).to(torch.float64), x.to(torch.float64))
        wide = cotnet.fuse(copy.deepcopy(model.layer).to(dtype))
        assert error(answers(wide, x.to(dtype)).double(), expected) < bound


@pytest.mark.parametrize(("layer", "dtype"), [(cotnet.CoTLayer, torch.float32), (cotnet.CoXtLayer, torch.float64)])
@pytest.mark.parametrize(("height", "width"), [(5, 7), (24, 33)])  # the larger goes round threads
def test_the_norm_behind_a_layer_is_folded(layer, dtype, height, width):
    model = nn.Sequential(nn.Conv2d(3, 48, 1), layer(48), nn.BatchNorm2d(48), nn.BatchNorm2d(48, affine=False))
    model = settle(model, 9).to(dtype)
    x = torch.randn(1, 3, height, width, dtype=dtype)
    fused, expected = cotnet.fuse(model), answers(model, x)
    assert norms(fused) == 1  # the second has a folded norm before it, not a layer
    assert error(answers(fused, x), expected) < 1e-5
    assert "1.out_scale" in fused.state_dict()
    for wrong in ("out_scale", "out_bias"):
        mistaken = copy.deepcopy(fused)
        mistaken[1].get_parameter(wrong).data = mistaken[1].get_parameter(wrong).roll(1)
        assert error(answers(mistaken, x), expected) > 1e-3
    twice = fused[1].with_norm(model[3])
    assert error(answers(nn.Sequential(fused[0], twice), x), expected) < 1e-5


def test_a_layer_with_a_second_reader_keeps_its_norm():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.layer, self.norm = nn.Conv2d(3, 8, 1), cotnet.CoTLayer(8), nn.BatchNorm2d(8)

        def forward(self, x):
            y = self.layer(self.stem(x))
            return y + self.norm(y)

    model, x = settle(Branching(), 9), torch.randn(2, 3, 5, 5)
    fused = cotnet.fuse(model)
    assert norms(fused) == 1
    assert error(answers(fused, x), answers(model, x)) < 1e-5


def networks():
    yield "torchvision resnet18", torchvision.models.resnet18()
    yield "converted resnet18", cotnet.convert(torchvision.models.resnet18(), "cot", "layer3")
    yield "mobilenet", torchvision.models.mobilenet_v3_small()
    yield "norm with activation", timm.create_model("efficientnet_lite0")
    yield "features", timm.create_model("cotnet_nano", features_only=True)
    yield "with a 3-d convolution", timm.create_model("lambda_resnet26t")


@pytest.mark.parametrize(("name", "model"), networks(), ids=lambda v: v if isinstance(v, str) else "")
def test_inside_other_networks(name, model):
    model, x = settle(model), torch.randn(2, 3, 64, 64)
    fused = cotnet.fuse(model)
    expected, actual = answers(model, x), answers(fused, x)
    if isinstance(expected, list):
        expected, actual = expected[2], actual[2]
    assert error(actual, expected) < 5e-5
    assert norms(fused) < norms(model)


class Branches(nn.Module):
    """Convolutions whose norms must stay: one has a second reader, one is used twice, one is watched."""

    def __init__(self):
        super().__init__()
        self.read, self.read_norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.twice, self.twice_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.seen, self.seen_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.plain, self.plain_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.seen.register_forward_hook(lambda module, args, out: None)

    def forward(self, x):
        y = self.read(x)
        y = y + self.read_norm(y)
        y = self.twice_norm(self.twice(y)) + self.twice(y)
        return self.plain_norm(self.plain(self.seen_norm(self.seen(y))))


def test_only_norms_behind_a_convolution_of_their_own_are_folded():
    model, x = settle(Branches()), torch.randn(2, 3, 5, 5)
    fused = cotnet.fuse(model)
    assert error(answers(fused, x), answers(model, x)) < 1e-5
    assert norms(fused) == 3


class Choosing(nn.Module):
    """Control flow that follows the data: the parts are folded, the whole cannot be traced."""

    def __init__(self):
        super().__init__()
        self.part = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, x):
        return self.part(x if x.sum() > 0 else -x)


def test_parts_of_what_cannot_be_traced():
    model, x = settle(Choosing()), torch.randn(2, 3, 5, 5)
    fused = cotnet.fuse(model)
    assert norms(fused) == 0
    assert error(answers(fused, x), answers(model, x)) < 1e-5


class Rectified(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).relu()


@pytest.mark.parametrize("synchronised", [convert_sync_batchnorm, replace_norms], ids=["timm", "own"])
def test_synchronised_norms_are_folded_and_keep_their_activation(synchronised):
    model, x = settle(timm.create_model("efficientnet_lite0")), torch.randn(2, 3, 64, 64)
    expected = answers(model, x)
    fused = cotnet.fuse(synchronised(model).eval())
    assert not any(isinstance(m, (nn.SyncBatchNorm, SyncBatchNorm)) for m in fused.modules())
    assert error(answers(fused, x), expected) < 5e-5


def test_frozen_norms_are_folded():
    model, x = torchvision.models.resnet18(norm_layer=FrozenBatchNorm2d).eval(), torch.randn(2, 3, 64, 64)
    torch.manual_seed(0)
    for norm in model.modules():
        if isinstance(norm, FrozenBatchNorm2d):
            for buffer in norm.buffers():
                buffer.uniform_(0.3, 0.6)
    fused = cotnet.fuse(model)
    assert not any(isinstance(m, FrozenBatchNorm2d) for m in fused.modules())
    assert error(answers(fused, x), answers(model, x)) < 1e-5


def test_a_norm_of_a_derived_class_stays():
    model, x = settle(nn.Sequential(nn.Conv2d(3, 8, 3), Rectified(8), nn.Conv2d(8, 4, 1))), torch.randn(2, 3, 9, 9)
    fused = cotnet.fuse(model)
    assert norms(fused) == 1
    assert error(answers(fused, x), answers(model, x)) < 1e-5


class Doubled(cotnet.CoTLayer):
    def forward(self, x):
        return 2 * super().forward(x)


def watched():
    layer = cotnet.CoTLayer(16)
    layer.register_forward_hook(lambda module, args, out: 2 * out)
    return layer


def watched_inside():
    layer = cotnet.CoTLayer(16)
    layer.fusion.register_forward_hook(lambda module, args, out: 2 * out)
    return layer


def without_statistics():
    layer = cotnet.CoTLayer(16)
    layer.dynamic_norm = nn.BatchNorm2d(16, track_running_stats=False)
    return layer


@pytest.mark.parametrize("layer", [lambda: Doubled(16), watched, watched_inside, without_statistics])
def test_a_layer_with_more_than_its_own_arithmetic_stays(layer):
    model = settle(nn.Sequential(nn.Conv2d(3, 16, 1), nn.BatchNorm2d(16), layer(), cotnet.CoTLayer(16)), 9)
    x = torch.randn(2, 3, 9, 9)
    fused = cotnet.fuse(model)
    assert type(fused[2]) is type(model[2])
    assert type(fused[3]) is FusedCoT
    assert not isinstance(fused[1], nn.BatchNorm2d)
    assert error(answers(fused, x), answers(model, x)) < 1e-5


class Aliased(nn.Module):
    """Both parts have a second name, and the norms are before and behind that."""

    def __init__(self):
        super().__init__()
        self.conv, self.conv_norm = nn.Conv2d(3, 16, 1), nn.BatchNorm2d(16)
        self.layer, self.layer_norm = cotnet.CoTLayer(16), nn.BatchNorm2d(16)
        self.parts = nn.ModuleList([self.conv, self.layer_norm, self.layer])

    def forward(self, x):
        return self.parts[1](self.layer(self.conv_norm(self.parts[0](x))))


def test_a_part_with_two_names_is_replaced_under_both():
    model, x = settle(Aliased(), 9), torch.randn(2, 3, 9, 9)
    fused = cotnet.fuse(model)
    assert norms(fused) == 0
    assert fused.conv is fused.parts[0]
    assert fused.layer is fused.parts[2]
    assert error(answers(fused, x), answers(model, x)) < 1e-5


class SharedPart(nn.Module):
    """A part in two wholes, one of which is without its norm; the network cannot be traced."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.first, self.second = nn.Sequential(self.conv, nn.BatchNorm2d(3)), nn.Sequential(self.conv, nn.ReLU())

    def forward(self, x):
        return self.first(x if x.sum() > 0 else -x) + self.second(x)


def test_what_two_untraced_parts_share_keeps_its_norm():
    model, x = settle(SharedPart(), 9), torch.randn(2, 3, 5, 5)
    fused = cotnet.fuse(model)
    assert fused.first[0] is fused.second[0]
    assert error(answers(fused, x), answers(model, x)) < 1e-5


def test_a_shared_layer_stays_shared():
    layer = cotnet.CoTLayer(8)
    fused = cotnet.fuse(nn.ModuleList([layer, layer]))
    assert fused[0] is fused[1]
