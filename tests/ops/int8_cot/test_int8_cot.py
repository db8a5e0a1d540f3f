"""The CoT layer of bytes: instruction sets against the reference, and the reference against the layer in floats."""

import pytest
import torch

import cotnet
from cotnet.ops.int8_cot import contract, int8_cot, reference
from cotnet.ops.local_aggregation.contract import Geometry
from cotnet.quantization.calibration import inside
from cotnet.quantization.modules import Int8CoT
from cotnet.quantization.scales import ByteScale


def settled(layer):
    """Random norms, so that every branch counts."""
    for norm in (m for m in layer.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, 0, 0.2)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    return layer.eval()


def made(kind=cotnet.CoTLayer, dim=32, kernel_size=3, size=(2, 9, 7), **options):
    """A layer of bytes, its layer in floats, and an input in both."""
    torch.manual_seed(dim)
    fused = cotnet.fuse(settled(kind(dim, kernel_size=kernel_size, **options)))
    batch, height, width = size
    x = torch.randn(batch, dim, height, width)
    scale = ByteScale.of_range(float(x.min()), float(x.max()))
    with torch.inference_mode():
        y, parts = fused(x), inside(fused, x)
    static, hidden = (ByteScale.of_range(0.0, float(parts[name].max())) for name in ("static", "hidden"))
    layer = Int8CoT(fused, scale, static, hidden, ByteScale.of_range(float(y.min()), float(y.max())))
    q = ((x / scale.scale).round() + scale.zero).clamp(0, 255).to(torch.uint8)
    return layer, q, y


def arguments(layer):
    """What the module gives to the op."""
    convolutions = tuple(
        contract.IntegerConv(getattr(layer, n), getattr(layer, f"{n}_bias"), getattr(layer, f"{n}_multiplier"))
        for n in Int8CoT._CONVS
    )
    parameters = contract.ContextParameters(*(getattr(layer, n) for n in contract.ContextParameters._fields))
    return convolutions, parameters, layer._cot_scales, layer.eps


CASES = [
    {},
    {"dim": 64, "size": (1, 33, 26)},
    {"dim": 8, "size": (3, 1, 1)},
    {"dim": 24, "size": (5, 3, 13)},
    {"dim": 40, "dilation": 2, "size": (2, 5, 5)},
    {"dim": 64, "kernel_size": 5},
    {"dim": 16, "kernel_size": 1},
    {"kind": cotnet.CoXtLayer, "dim": 32},
    {"kind": cotnet.CoXtLayer, "dim": 48, "size": (1, 8, 30)},
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("threads", [1, 2])
def test_every_instruction_set_equals_the_reference(isa, case, threads):
    layer, x, _ = made(**case)
    geometry = Geometry(layer.kernel_size, 1, layer.dilation, layer.groups)
    expected = reference.cot(x, *arguments(layer), geometry, layer.static_groups)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        actual = layer(x)
    finally:
        torch.set_num_threads(before)
    # All up to the attention and the value is exact; floats behind those differ where a byte is nearly between two.
    difference = (actual.int() - expected.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 1e-2


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_answers_as_the_layer_in_floats(case):
    layer, x, y = made(**case)
    scale, zero = layer.scales[3].tolist()
    error = (layer(x).double() - zero) * scale - y
    assert error.square().mean().sqrt() < 0.05 * y.std(correction=0) + scale


def test_a_planted_mistake_is_seen():
    layer, x, _ = made()
    right = layer(x)
    for name in ("static_bias", "reduce_bias", "expand_bias", "value_bias", "dynamic_bias", "excite_bias"):
        tensor = getattr(layer, name)
        kept = tensor.clone()
        tensor.copy_(tensor.roll(1))
        assert (layer(x).int() - right.int()).abs().max() > 1, name
        tensor.copy_(kept)


def test_contract():
    layer, x, _ = made(dim=16, size=(2, 4, 3))
    convolutions, parameters, scales, eps = arguments(layer)
    tensors = [t for conv in convolutions for t in conv]
    options = (*scales, eps, 3, 1, 1, layer.static_groups)
    torch.library.opcheck(contract.cot, (x, tensors, parameters.tensors(), *options))


def test_what_does_not_fit_is_refused():
    layer, x, _ = made()
    convolutions, parameters, scales, eps = arguments(layer)
    with pytest.raises(ValueError, match="expected an odd kernel_size"):
        int8_cot(x, convolutions, parameters, scales, eps, 2, static_groups=4)
    with pytest.raises(TypeError, match=r"torch\.float32"):
        layer(x.float())
    with pytest.raises(ValueError, match="expected weight"):
        layer(x[:, :16])
