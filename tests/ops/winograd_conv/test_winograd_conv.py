"""The convolution by minimal filtering against float64 in every instruction set and odd shape, and its contract."""

import pytest
import torch
import torch.nn.functional as F

from cotnet.ops import native_library
from cotnet.ops.winograd_conv import contract, transform, winograd_conv

# channels in and out, groups, batch, height, width
SHAPES = [(64, 64, 1, 2, 7, 13), (8, 8, 4, 1, 1, 1), (48, 24, 4, 2, 9, 3), (5, 3, 1, 3, 2, 33), (256, 256, 4, 1, 13, 2)]


def arguments(inputs, outputs, groups, batch, height, width, dtype=torch.float32):
    torch.manual_seed(inputs + height)
    x = torch.randn(batch, inputs, height, width, dtype=dtype)
    weight = torch.randn(outputs, inputs // groups, 3, 3, dtype=dtype) / (9 * inputs // groups) ** 0.5
    return x, weight, transform(weight, groups), torch.randn(outputs, dtype=dtype), groups


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_native_equals_float64(shape, isa, layout):
    library = native_library.load()
    if isinstance(library, str):
        pytest.skip(library)
    before = library.isa
    try:
        library.choose(isa)
    except RuntimeError as reason:
        pytest.skip(str(reason))
    x, weight, transformed, bias, groups = arguments(*shape)
    actual = winograd_conv(x.contiguous(memory_format=layout), weight, transformed, bias, groups=groups, relu=True)
    library.choose(before)
    exact = F.relu(F.conv2d(x.double(), weight.double(), bias.double(), padding=1, groups=groups))
    # A tile's transform adds up to 16 inputs and the result's as many products.
    assert (actual - exact).abs().max() < 32 * torch.finfo(torch.float32).eps * exact.abs().max()
    assert actual.is_contiguous(memory_format=torch.channels_last)


def test_a_planted_mistake_is_seen():
    x, weight, _, bias, groups = arguments(*SHAPES[0])
    wrong = winograd_conv(x, weight, transform(weight.transpose(2, 3), groups), bias, groups=groups)
    assert (wrong - F.conv2d(x, weight, bias, padding=1, groups=groups)).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contract(dtype):
    torch.library.opcheck(contract.conv, (*arguments(*SHAPES[2], dtype=dtype), True))


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"x": torch.zeros(2, 48, 0, 3)}, ValueError, r"\[2, 48, 0, 3\]"),
        ({"groups": 5}, ValueError, "groups=5"),
        ({"weight": torch.zeros(24, 12, 5, 5)}, ValueError, r"\[24, 12, 5, 5\]"),
        ({"transformed": torch.zeros(1, 12, 32)}, ValueError, r"expected transformed \[64, 12, 32\]"),
        ({"bias": torch.zeros(24, dtype=torch.float64)}, TypeError, "float64"),
    ],
)
def test_errors_show_the_values(change, kind, words):
    names = ("x", "weight", "transformed", "bias", "groups")
    x, weight, transformed, bias, groups = (dict(zip(names, arguments(*SHAPES[2]), strict=True)) | change).values()
    with pytest.raises(kind, match=words):
        winograd_conv(x, weight, transformed, bias, groups=groups)
