"""Networks of bytes answer as those in floats, say what stays in floats, and refuse what they cannot do."""

import copy
import pickle

import pytest
import timm
import torch
from torch import nn

import cotnet
from cotnet.layers import CoTLayer, CoXtLayer
from cotnet.quantization.modules import Int8Conv, Int8CoT, Int8Module

SIZE = 64


def images(count=24, channels=3, size=SIZE):
    torch.manual_seed(1)
    x = torch.randn(count, channels, size // 4, size // 4)
    return nn.functional.interpolate(x, size=size, mode="bilinear")


def trained(name, **kwargs):
    """A network whose norms have seen images, so that its activations are of the usual sizes."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10, **kwargs)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    model.train()
    with torch.no_grad():
        for _ in range(20):
            model(images())
    return model.eval()


def noise(actual, exact):
    """The mean square of the difference, relative to the variance."""
    return float((actual - exact).square().mean() / exact.var())


@pytest.mark.parametrize("name", ["cotnet20_nano", "cotnet_nano", "se_cotnetd_50", "cotnext50_2x48d", "resnet18"])
def test_answers_are_those_of_the_network_in_floats(name):
    model = trained(name)
    before = copy.deepcopy(model.state_dict())
    quantized = cotnet.quantize(model, images(), largest_noise=1.0)
    kinds = [type(module) for module in quantized.modules()]
    assert Int8Conv in kinds
    assert (Int8CoT in kinds) == (name != "resnet18")
    with torch.no_grad():
        assert noise(quantized(images(8)), model(images(8))) < 0.01
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not quantized.training
    assert not any(p.requires_grad for p in quantized.parameters())


def test_a_wrong_scale_is_noticed():
    """What the test above would see of a mistake in one layer."""
    model = trained("cotnet20_nano")
    quantized = cotnet.quantize(model, images(), largest_noise=1.0)
    layer = next(module for module in quantized.modules() if isinstance(module, Int8CoT))
    with torch.no_grad():
        exact = model(images(8))
        right = noise(quantized(images(8)), exact)
        layer.scales[3, 0] *= 4
        layer._refresh()
        assert noise(quantized(images(8)), exact) > 10 * right


@pytest.mark.parametrize("kind", [CoTLayer, CoXtLayer])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_a_single_layer(kind, kernel_size):
    torch.manual_seed(0)
    layer = kind(32, kernel_size).train()
    x = images(16, 32, 16)
    for _ in range(20):
        layer(x)
    quantized = cotnet.quantize(layer.eval(), x, largest_noise=1.0)
    with torch.no_grad():
        assert noise(quantized(x), layer(x)) < 0.02
    assert "modules in integers" in str(quantized.report)


def test_a_converted_network_of_others():
    model = timm.create_model("resnet18", num_classes=4).eval()
    converted = cotnet.convert(model, mixer="cot", where="res4").train()
    with torch.no_grad():
        for _ in range(10):
            converted(images())
    batches = [(images(8), torch.zeros(8)), (images(8), torch.zeros(8))]
    quantized = cotnet.quantize(converted.eval(), batches, largest_noise=1.0)
    layers = sum(isinstance(module, CoTLayer) for module in converted.modules())
    assert sum(isinstance(module, Int8CoT) for module in quantized.modules()) == layers > 2


@pytest.mark.parametrize("observer", ["minmax", "percentile", "mse"])
@pytest.mark.parametrize("correct_bias", [False, True])
def test_every_observer_serves(observer, correct_bias):
    model = trained("cotnet20_nano")
    quantized = cotnet.quantize(model, images(), observer=observer, correct_bias=correct_bias, largest_noise=1.0)
    assert (quantized.report.observer, quantized.report.corrects_bias) == (observer, correct_bias)
    with torch.no_grad():
        assert noise(quantized(images(8)), model(images(8))) < 0.1


def test_what_stays_in_floats_is_reported():
    model = trained("cotnet20_nano")
    whole = cotnet.quantize(model, images(), largest_noise=1.0).report.noise
    limit = sorted(whole.values())[len(whole) // 2]
    quantized = cotnet.quantize(model, images(), keep_in_floats=["layer1.0.conv1"], largest_noise=limit)
    report = quantized.report
    assert report.in_floats["layer1.0.conv1"] == "asked for"
    loud = {name for name, value in whole.items() if value > limit}
    assert loud <= {*report.in_floats}
    assert all("alone it changes its output by" in report.in_floats[name] for name in loud - {"layer1.0.conv1"})
    with pytest.raises(ValueError, match=r"all its \d+ modules are to stay in floats, .* alone it changes"):
        cotnet.quantize(model, images(), largest_noise=0.0)


def test_batches_of_any_number_and_other_sizes():
    model = trained("cotnet20_nano")
    quantized = cotnet.quantize(model, images(), largest_noise=1.0)
    with torch.no_grad():
        whole = quantized(images(8))
        assert torch.equal(quantized(images(8)[:1]), whole[:1])
        assert quantized(images(8)[:0]).shape == (0, 10)
        assert quantized(images(2, size=96)).shape == (2, 10)


def test_copies_and_state_dicts_answer_alike():
    model = trained("cotnet20_nano")
    quantized = cotnet.quantize(model, images(), largest_noise=1.0)
    with torch.no_grad():
        expected = quantized(images(4))
        assert torch.equal(copy.deepcopy(quantized)(images(4)), expected)
        other = cotnet.quantize(model, images().flip(0)[:9] * 0.5, largest_noise=1.0)
        assert not torch.equal(other(images(4)), expected)
        other.load_state_dict(quantized.state_dict())
        assert torch.equal(other(images(4)), expected)
        assert torch.equal(quantized.to(torch.bfloat16)(images(4)), expected)  # integers have no other dtype


@pytest.mark.parametrize(
    ("calibration", "words"),
    [
        ([], "got none"),
        (torch.zeros(0, 3, 64, 64), "got none"),
        ([torch.zeros(2, 3, 64, 64), torch.zeros(2, 3, 32, 32)], "of one size"),
        (torch.full((2, 3, 64, 64), float("nan")), "NaN or infinite values in batch 0"),
        (torch.zeros(2, 3, 64, 64, dtype=torch.uint8), "float tensors"),
        (["a.jpg"], "got str"),
        ("no/such/folder", "does not exist"),
    ],
)
def test_calibration_that_does_not_serve_is_refused(calibration, words):
    with pytest.raises(ValueError, match=words):
        cotnet.quantize(trained("cotnet20_nano"), calibration)


def test_what_cannot_be_quantized_is_refused():
    model = trained("cotnet20_nano")
    quantized = cotnet.quantize(model, images(), largest_noise=1.0)
    with pytest.raises(ValueError, match="quantized already"):
        cotnet.quantize(quantized, images())
    with pytest.raises(ValueError, match="expected observer"):
        cotnet.quantize(model, images(), observer="best")
    with pytest.raises(ValueError, match="expected names of modules"):
        cotnet.quantize(model, images(), keep_in_floats=["layer9"])
    with pytest.raises(ValueError, match="nothing of ReLU can be quantized"):
        cotnet.quantize(nn.ReLU(), images())
    with pytest.raises(RuntimeError, match="serves inference only"):
        quantized.train()
    assert not any(module.training for module in quantized.modules())
    with torch.no_grad():
        model.fc.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinite values"):
        cotnet.quantize(model, images())


def test_dead_channels_and_images_that_are_all_alike():
    model = trained("cotnet20_nano")
    with torch.no_grad():
        model.layer1[0].conv1.weight[:4] = 0
        model.layer1[0].bn1.weight[:8] = 0
    quantized = cotnet.quantize(model, torch.full((4, 3, 64, 64), 0.5), largest_noise=1.0)
    assert quantized(images(4)).isfinite().all()


def test_every_part_is_of_integers():
    quantized = cotnet.quantize(trained("cotnet20_nano"), images(), largest_noise=1.0)
    weights = [m.weight.dtype for m in quantized.modules() if isinstance(m, Int8Conv)]
    assert set(weights) == {torch.int8}
    assert not any(isinstance(m, (nn.Conv2d, nn.BatchNorm2d)) for m in quantized.modules())
    assert all(isinstance(m, Int8Module) or not list(m.buffers(recurse=False)) for m in quantized.modules())
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):  # it is saved as safetensors
        pickle.dumps(quantized)
