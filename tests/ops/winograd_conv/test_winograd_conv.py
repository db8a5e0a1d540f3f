"""The convolution by minimal filtering against float64 in every instruction set and odd shape, and its contract."""

import pytest
import torch
import torch.nn.functional as F

from cotnet.ops.winograd_conv import contract, transform, winograd_conv

# channels in and out, groups, batch, height, width
SHAPES = [
    (64, 64, 1, 2, 7, 13),
    (18, 17, 1, 1, 1, 1),
    (192, 72, 8, 2, 9, 3),
    (85, 35, 5, 1, 4, 5),
    (256, 256, 4, 1, 13, 2),
]
# Several narrow groups share vectors in their transforms, or are done directly; the last goes round two threads.
SHAPES += [(8, 8, 4, 1, 1, 1), (48, 24, 4, 2, 9, 3), (5, 3, 1, 3, 2, 33), (96, 96, 8, 1, 5, 26), (64, 64, 4, 2, 31, 27)]


def arguments(inputs, outputs, groups, batch, height, width, dtype=torch.float32):
    torch.manual_seed(inputs + height)
    x = torch.randn(batch, inputs, height, width, dtype=dtype)
    weight = torch.randn(outputs, inputs // groups, 3, 3, dtype=dtype) / (9 * inputs // groups) ** 0.5
    return x, weight, transform(weight, groups), torch.randn(outputs, dtype=dtype), groups


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("threads", [1, 2])
def test_native_equals_float64(isa, shape, threads):
    x, weight, transformed, bias, groups = arguments(*shape)
    layout = torch.channels_last if threads > 1 else torch.contiguous_format
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        actual = winograd_conv(x.contiguous(memory_format=layout), weight, transformed, bias, groups=groups, relu=True)
    finally:
        torch.set_num_threads(threads_before)
    exact = F.relu(F.conv2d(x.double(), weight.double(), bias.double(), padding=1, groups=groups))
    # A tile's transform adds up to 16 inputs and the result's as many products.
    assert (actual - exact).abs().max() < 32 * torch.finfo(torch.float32).eps * exact.abs().max()
    assert actual.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[-1]], ids=str)
def test_a_planted_mistake_is_seen(shape):
    x, weight, _, bias, groups = arguments(*shape)
    wrong = winograd_conv(x, weight, transform(weight.transpose(2, 3), groups), bias, groups=groups)
    assert (wrong - F.conv2d(x, weight, bias, padding=1, groups=groups)).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [SHAPES[2], SHAPES[6]], ids=str)
def test_contract(dtype, shape):
    torch.library.opcheck(contract.conv, (*arguments(*shape, dtype=dtype), True))


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"x": torch.zeros(2, 192, 0, 3)}, ValueError, r"\[2, 192, 0, 3\]"),
        ({"groups": 5}, ValueError, "groups=5"),
        ({"weight": torch.zeros(72, 24, 5, 5)}, ValueError, r"\[72, 24, 5, 5\]"),
        ({"transformed": torch.zeros(1, 24, 32)}, ValueError, r"expected transformed \[128, 24, 32\]"),
        ({"bias": torch.zeros(72, dtype=torch.float64)}, TypeError, "float64"),
    ],
)
def test_errors_show_the_values(change, kind, words):
    names = ("x", "weight", "transformed", "bias", "groups")
    x, weight, transformed, bias, groups = (dict(zip(names, arguments(*SHAPES[2]), strict=True)) | change).values()
    with pytest.raises(kind, match=words):
        winograd_conv(x, weight, transformed, bias, groups=groups)


def test_narrow_groups_have_panels_of_their_own():
    x, weight, transformed, bias, groups = arguments(*SHAPES[6])
    assert transformed.shape == (4, 9 * 12, 32)
    with pytest.raises(ValueError, match=r"expected transformed \[4, 108, 32\]"):
        winograd_conv(x, weight, transformed[:1], bias, groups=groups)


def test_a_wanted_gradient_is_the_convolutions():
    x, weight, transformed, bias, groups = arguments(*SHAPES[2])
    x, bias = x.requires_grad_(), bias.requires_grad_()
    expected = torch.autograd.grad(F.conv2d(x, weight, bias, padding=1, groups=groups).square().sum(), (x, bias))
    actual = torch.autograd.grad(winograd_conv(x, weight, transformed, bias, groups=groups).square().sum(), (x, bias))
    torch.testing.assert_close(actual, expected)


def test_a_tensor_without_data_among_others_is_refused():
    x, weight, transformed, bias, groups = arguments(*SHAPES[2])
    with pytest.raises(ValueError, match="one device, got cpu, meta"):
        winograd_conv(x, weight.to("meta"), transformed.to("meta"), bias, groups=groups)
