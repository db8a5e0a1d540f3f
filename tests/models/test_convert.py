"""CoT and other mixers in foreign networks."""

import pytest
import timm
import torch
import torchvision
from torch import nn

import cotnet
from cotnet.layers.mixers import MIXERS


def double_convolution(before, after):
    layers = []
    for dim in (before, after):
        layers += [nn.Conv2d(dim, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Two levels, with a skip."""

    def __init__(self):
        super().__init__()
        self.down1, self.down2 = double_convolution(3, 16), double_convolution(16, 32)
        self.up = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.merge, self.head = double_convolution(32, 16), nn.Conv2d(16, 2, 1)

    def forward(self, x):
        skip = self.down1(x)
        deep = self.up(self.down2(nn.functional.max_pool2d(skip, 2)))
        return self.head(self.merge(torch.cat([skip, deep], 1)))


class YoloBlock(nn.Module):
    """Split, two residual 3x3 convolutions, join; after a strided convolution."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 32, 3, 2, 1)
        self.cv1 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.cv2 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.join = nn.Conv2d(48, 32, 1)

    def forward(self, x):
        a, b = self.down(x).chunk(2, 1)
        return self.join(torch.cat([a, b, b + self.cv2(self.cv1(b).relu()).relu()], 1))


NETWORKS = {
    "torchvision resnet50": (lambda: torchvision.models.resnet50(num_classes=5), 16),
    "torchvision dilated resnet50": (
        lambda: torchvision.models.resnet50(num_classes=5, replace_stride_with_dilation=[False, True, True]),
        16,
    ),
    "torchvision regnet": (lambda: torchvision.models.regnet_y_400mf(num_classes=5), 16),
    "torchvision mobilenet": (lambda: torchvision.models.mobilenet_v2(num_classes=5), 17),
    "timm resnet18": (lambda: timm.create_model("resnet18", num_classes=5), 13),
    "timm regnet": (lambda: timm.create_model("regnetx_002", num_classes=5), 13),
    "timm mobilenet": (lambda: timm.create_model("mobilenetv2_050", num_classes=5), 17),
    "unet": (UNet, 3),
    "yolo": (YoloBlock, 2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_foreign_network(name):
    build, count = NETWORKS[name]
    model = build().eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    converted = cotnet.convert(model, mixer="cot")
    report = converted.conversion
    assert len(report.changed) == count
    assert set(report.changed) | set(report.left) == {
        key for key, part in model.named_modules() if isinstance(part, nn.Conv2d)
    }
    after = converted.state_dict()
    kept = [key for key in before if key.rpartition(".")[0] not in report.changed]
    assert all(torch.equal(after[key], before[key]) for key in kept)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(part.training for part in converted.modules())
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert converted(x).shape == model(x).shape
    assert report.parameters[1] == sum(p.numel() for p in converted.parameters())


def test_stride_and_dilation_keep_their_meaning():
    model = nn.Sequential(nn.Conv2d(16, 16, 3, 2, padding=2, dilation=2), nn.Conv2d(16, 16, 3, padding="same"))
    converted = cotnet.convert(model)
    pool, layer = converted[0]
    assert (pool.kernel_size, pool.stride, layer.dilation) == (3, 2, 2)
    for size in ((7, 8), (8, 9), (1, 2)):
        x = torch.randn(2, 16, *size)
        assert converted(x).shape == model(x).shape
    assert "stride 2, dilation 2" in converted.conversion.changed["0"]
    strided = cotnet.convert(model, "bsconv")[0]
    assert strided.blueprint.stride == strided.blueprint.dilation == (2, 2)


@pytest.mark.parametrize("mixer", MIXERS)
def test_every_mixer_serves(mixer):
    converted = cotnet.convert(timm.create_model("resnet18", num_classes=3), mixer, "res5")
    assert converted(torch.randn(2, 3, 64, 64)).shape == (2, 3)
    assert list(converted.conversion.changed) == ["layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2"]


@pytest.mark.parametrize(
    ("where", "changed"),
    [
        ("res4-5", 6),
        ("layer1", 4),
        ("layer2.*.conv2", 2),
        (["layer1.0", "layer4.1.conv2"], 3),
        ("width>=256", 6),
        ("width<128", 4),
        (lambda name, conv: conv.stride == (1, 1) and "conv1" in name, 5),
    ],
)
def test_where(where, changed):
    assert len(cotnet.convert(timm.create_model("resnet18"), where=where).conversion.changed) == changed


@pytest.mark.parametrize(("name", "stage"), [("regnetx_002", "s4"), ("convnext_atto", None), ("resnet18", "layer4")])
def test_stages_by_the_papers_number(name, stage):
    model = timm.create_model(name)
    if stage is None:
        with pytest.raises(ValueError, match=r"the stages are .*res5"):
            cotnet.convert(model, where="res7")
    else:
        assert all(key.startswith(stage) for key in cotnet.convert(model, where="res5").conversion.changed)


def test_a_converted_network_learns():
    torch.manual_seed(0)
    model = cotnet.convert(torchvision.models.resnet18(num_classes=2), where="layer1")
    x, y = torch.randn(16, 3, 32, 32), torch.arange(16) % 2
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    losses = []
    for _ in range(8):
        loss = nn.functional.cross_entropy(model(x), y)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.3 * losses[0]


def test_what_is_left_and_why():
    shared = nn.Conv2d(16, 16, 3, padding=1)
    model = nn.ModuleDict(
        {
            "one": shared,
            "two": shared,
            "odd": nn.Conv2d(12, 12, 3, padding=1),
            "wider": nn.Conv2d(8, 16, 3, padding=1),
            "large": nn.Conv2d(16, 16, 5, padding=2),
            "valid": nn.Conv2d(16, 16, 3),
            "mirror": nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"),
            "lazy": nn.LazyConv2d(16, 3, padding=1),
            "normed": nn.utils.parametrizations.weight_norm(nn.Conv2d(16, 16, 3, padding=1)),
            "flat": nn.Conv2d(16, 16, 3, (1, 2), padding=1),
        }
    )
    converted = cotnet.convert(model)
    assert converted["one"] is converted["two"]
    left = converted.conversion.left
    for name, reason in {
        "odd": "the nearest are 8 or 16",
        "wider": "from 8 to 16 channels",
        "large": "5x5",
        "valid": "changes the size",
        "mirror": "reflect",
        "lazy": "run the network once",
        "normed": "may compute something else than a convolution",
        "flat": "equal in rows and columns",
    }.items():
        assert reason in left[name]
    text = str(converted.conversion)
    assert text.startswith("2 convolutions became cot; ")
    assert "8 were left" in text


def test_dtype_mode_and_a_bare_convolution():
    layer = cotnet.convert(nn.Conv2d(16, 16, 3, padding=1).double().eval())
    assert isinstance(layer, cotnet.CoTLayer)
    assert layer.value.conv.weight.dtype == torch.float64
    assert not layer.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixer": "cott"}, "did you mean 'cot'"),
        ({"where": "layer5"}, r"no convolution fits where='layer5'; the stages are res2 \(layer1\).*layer1.0.conv1"),
        ({"where": "res6"}, r"res5 \(layer4\)"),
        ({"where": "res4-9"}, r"res5 \(layer4\)"),
        ({"where": 5}, "where as text, several texts, or a function, got 5"),
        ({"where": []}, "these could have been swapped: layer1.0.conv1"),
        ({"where": "width>=4096"}, "these could be swapped: layer1.0.conv1"),
        ({"where": "width=64"}, "such as 'width>=128'"),
        ({"where": lambda name, conv: False}, "these could have been swapped: layer1.0.conv1.*and 1 more"),
        ({"where": "conv1"}, "none of the convolutions asked for .*7x7.*layer1.0.conv1"),
    ],
)
def test_nothing_to_swap_says_what_there_is(options, message):
    with pytest.raises(ValueError, match=message):
        cotnet.convert(timm.create_model("resnet18"), **options)


def test_a_network_without_convolutions():
    with pytest.raises(ValueError, match="no 2-D convolution"):
        cotnet.convert(nn.Linear(3, 3))


def test_a_network_of_this_package_is_left_alone():
    converted = cotnet.convert(timm.create_model("cotnet18"), "bsconv")
    assert all(".mixer" not in name for name in converted.conversion.changed)
