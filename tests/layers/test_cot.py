"""The CoT and CoXt layers against the published computation, and in places where they get dropped."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad

from cotnet import CoTLayer, CoXtLayer, from_official, to_official

LAYERS = {"CotLayer": CoTLayer, "CoXtLayer": CoXtLayer}
CASES = ["cot64_eval", "cot64_train", "cot32_k5", "coxt96_eval", "coxt96_train"]


def run(case, tensors, fill, layer=None):
    """What our layer computes for a parity case, under the official names."""
    layer = layer or LAYERS[case["layer"]](case["dim"], case["kernel_size"])
    layer = layer.double().train(case["train"])
    prefix = f"{case['layer']}{case['dim']}."
    entries = {
        name: torch.from_numpy(fill(prefix + name, tuple(value.shape)))
        for name, value in to_official(layer.state_dict()).items()
    }
    layer.load_state_dict(from_official(entries))
    x = tensors["x"].double().requires_grad_()
    y = layer(x)
    y.backward(tensors["grad_out"].double())
    actual = {"y": y.detach(), "grad_x": x.grad}
    actual |= {f"grad.{k}": v for k, v in to_official({k: p.grad for k, p in layer.named_parameters()}).items()}
    return actual | {f"after.{k}": v for k, v in to_official(layer.state_dict()).items()}


def worst(actual, tensors):
    """The largest error as a multiple of what is allowed: 1e-9, or 1e-6 where stored in float32."""
    errors = {}
    for name, expected in tensors.items():
        if name in ("x", "grad_out"):
            continue
        allowed = 1e-6 if expected.dtype == torch.float32 else 1e-9
        # In train mode the bias before a BatchNorm has no gradient but rounding, so its layer's weight sets the scale.
        unit = tensors["grad.se.0.weight"] if name == "grad.se.0.bias" else expected
        scale = unit.double().abs().max().item()
        errors[name] = (actual[name].double() - expected.double()).abs().max().item() / scale / allowed
    return torch.tensor(list(errors.values())).max().item()  # a NaN among them is the maximum


@pytest.mark.parametrize("name", CASES)
def test_equals_the_published_layer(name, layer_parity, parity_weights):
    case, tensors = layer_parity.cases[name], layer_parity.tensors(name)
    actual = run(case, tensors, parity_weights.fill)
    assert {k for k in tensors if k.startswith("grad.")} == {k for k in actual if k.startswith("grad.")}
    assert worst(actual, tensors) <= 1


def test_every_parity_case_is_run(layer_parity):
    assert set(layer_parity.cases) == set(CASES)


def test_released_entries_come_back_unchanged(official_entries):
    entries = {f"x.{k}": v for k, v in official_entries["cotnet50"].items()} | {"other.bn.weight": [1]}
    assert to_official(from_official(entries)) == entries


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CoTLayer(60), "divisible by 8, got dim=60; the nearest are 56 or 64"),
        (lambda: CoTLayer(4), "got dim=4; the nearest are 8"),
        (lambda: CoTLayer(0), "got dim=0"),
        (lambda: CoTLayer(64, 4), "kernel_size=4"),
        (lambda: CoTLayer(64, dilation=0), "dilation=0"),
        (lambda: CoXtLayer(72), "divisible by 16, got dim=72; the nearest are 64 or 80"),
    ],
)
def test_errors_show_the_value_and_the_way_out(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("layer", [CoTLayer, CoXtLayer])
@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (3, 2), (5, 1), (7, 3)])
def test_keeps_the_size(layer, kernel_size, dilation):
    x = torch.randn(2, 32, 9, 6)
    assert layer(32, kernel_size, dilation=dilation)(x).shape == x.shape


def by_unfold(layer, x, kernel_size, dilation):
    """The layer's answer with the windows of both contexts written out, each tap's cells found by `unfold`."""
    (batch, dim, height, width), groups = x.shape, 2 if isinstance(layer, CoXtLayer) else 1

    def windows(z):
        cells = F.unfold(z, kernel_size, dilation=dilation, padding=dilation * (kernel_size // 2))
        return cells.view(batch, z.shape[1], kernel_size**2, height, width)

    conv = layer.static_context.conv
    split = windows(x).unflatten(1, (conv.groups, -1))
    kernel = conv.weight.flatten(2).unflatten(0, (conv.groups, -1))
    static = layer.static_context.norm(torch.einsum("ngcthw,gdct->ngdhw", split, kernel).flatten(1, 2)).relu()
    weight = layer.attention(x, static)
    c, half, maps = torch.arange(dim), dim // groups, weight.shape[1] // groups
    dynamic = (windows(layer.value(x)) * weight[:, c // half * maps + c % half % maps]).sum(2)
    return layer.fusion(F.silu(layer.dynamic_norm(dynamic)), static)


@pytest.mark.parametrize("layer", [CoTLayer, CoXtLayer])
@pytest.mark.parametrize(("kernel_size", "dilation"), [(3, 2), (5, 1), (5, 3)])
def test_window_and_dilation_reach_both_contexts(layer, kernel_size, dilation):
    torch.manual_seed(0)
    layer = layer(32, kernel_size, dilation=dilation).double().eval()
    x = torch.randn(2, 32, 9, 11, dtype=torch.float64)
    torch.testing.assert_close(layer(x), by_unfold(layer, x, kernel_size, dilation))
    assert not torch.allclose(layer(x), by_unfold(layer, x, kernel_size, dilation + 1), atol=1e-3)


@pytest.mark.parametrize("layer", [CoTLayer, CoXtLayer])
def test_channels_last_gives_the_same_answer(layer):
    layer, x = layer(32).double(), torch.randn(2, 32, 7, 5, dtype=torch.float64)
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(layer.to(memory_format=torch.channels_last)(last), layer(x))
    assert layer(last).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layer", [CoTLayer, CoXtLayer])
def test_trains_on_a_batch_of_one(layer):
    layer = layer(32).train()
    before = layer.fusion.norm.running_mean.clone()
    layer(torch.randn(1, 32, 6, 6)).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    assert torch.equal(layer.fusion.norm.running_mean, before)


def test_replaces_a_convolution_in_another_network():
    network = nn.Sequential(nn.Conv2d(3, 16, 1), CoTLayer(16), nn.ReLU(), CoXtLayer(16, 5))
    assert network(torch.randn(2, 3, 8, 8)).shape == (2, 16, 8, 8)


@pytest.mark.parametrize("layer", LAYERS.values())
def test_vmap_and_forward_mode_of_a_frozen_layer(layer):
    layer = layer(16).double().eval().requires_grad_(False)
    x, tangent = torch.randn(3, 2, 16, 5, 4, dtype=torch.float64), torch.randn(2, 16, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(torch.vmap(layer)(x), torch.stack([layer(image) for image in x]))
    step = 1e-6 * tangent
    expected = (layer(x[0] + step) - layer(x[0] - step)) / 2e-6
    with forward_ad.dual_level():
        out = forward_ad.unpack_dual(layer(forward_ad.make_dual(x[0], tangent)))
    torch.testing.assert_close(out.tangent, expected, rtol=1e-5, atol=1e-6)


def test_autocast_runs_in_bfloat16():
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(CoTLayer(16)(torch.randn(2, 16, 6, 6))).all()


@pytest.mark.parametrize("layer", [CoTLayer, CoXtLayer])
def test_gradients_by_finite_differences(layer):
    layer = layer(16).double()
    x = torch.randn(2, 16, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))


@pytest.mark.parametrize("layer", [CoTLayer, CoXtLayer])
@pytest.mark.parametrize("again", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copy_computes_the_same(layer, again):
    module, x = layer(16).eval(), torch.randn(2, 16, 5, 4)
    assert torch.equal(again(module)(x), module(x))
