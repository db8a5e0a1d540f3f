"""The reference against the formula, written as plain loops."""

import pytest
import torch
from torch import Tensor

from cotnet import local_aggregation
from cotnet.ops.local_aggregation import reference
from cotnet.ops.local_aggregation.contract import Geometry


def formula(value: Tensor, weight: Tensor, k: int, s: int, d: int, head_of) -> Tensor:
    """y[n,c,i,j] = sum over u, v of w[n, m(c), u*k+v, i, j] * x[n, c, i*s - p + u*d, j*s - p + v*d]."""
    batch, channels, height, width = value.shape
    out_h, out_w = weight.shape[3:]
    pad = d * (k // 2)
    out = torch.zeros(batch, channels, out_h, out_w, dtype=value.dtype)
    for c in range(channels):
        for i in range(out_h):
            for j in range(out_w):
                for u in range(k):
                    for v in range(k):
                        y, x = i * s - pad + u * d, j * s - pad + v * d
                        if 0 <= y < height and 0 <= x < width:
                            out[:, c, i, j] += weight[:, head_of(c), u * k + v, i, j] * value[:, c, y, x]
    return out


def example(channels, heads, k, s, height, width, batch=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    out_h, out_w = (height - 1) // s + 1, (width - 1) // s + 1
    value = torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(batch, heads, k * k, out_h, out_w, generator=generator, dtype=torch.float64)
    return value.to(dtype), weight.to(dtype)


@pytest.mark.parametrize(("k", "s", "d"), [(1, 1, 1), (3, 1, 1), (3, 2, 1), (3, 1, 2), (5, 3, 2), (7, 1, 1)])
@pytest.mark.parametrize("size", [(1, 1), (5, 4), (3, 7)])
def test_equals_the_formula(k, s, d, size):
    value, weight = example(8, 4, k, s, *size)
    groupings = [
        ({"grouping": "interleaved"}, lambda c: c % 4),
        ({"grouping": "contiguous"}, lambda c: c // 2),
        ({"groups": 2}, lambda c: c // 4 * 2 + c % 2),
    ]
    for options, head_of in groupings:
        expected = formula(value, weight, k, s, d, head_of)
        for impl in ("auto", "reference"):
            actual = local_aggregation(value, weight, k, stride=s, dilation=d, impl=impl, **options)
            torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_a_contiguous_grouping_is_not_an_interleaved_one():
    value, weight = example(8, 4, 3, 1, 5, 4)
    interleaved = local_aggregation(value, weight, 3)
    assert not torch.allclose(interleaved, local_aggregation(value, weight, 3, grouping="contiguous"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("impl", ["auto", "reference"])
def test_each_output_is_rounded_once(dtype, impl):
    value, weight = example(16, 2, 7, 1, 9, 9, dtype=dtype)
    exact = local_aggregation(value.double(), weight.double(), 7)
    magnitude = local_aggregation(value.double().abs(), weight.double().abs(), 7)
    accumulator = torch.finfo(torch.float32).eps * 49 * magnitude
    rounding = torch.finfo(dtype).eps * exact.abs()
    assert ((local_aggregation(value, weight, 7, impl=impl).double() - exact).abs() <= accumulator + rounding).all()


@pytest.mark.parametrize("impl", ["auto", "reference"])
def test_layout_follows_the_value(impl):
    value, weight = example(8, 2, 3, 1, 5, 4)
    last = value.contiguous(memory_format=torch.channels_last)
    out = local_aggregation(last, weight, 3, impl=impl)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert local_aggregation(value, weight, 3, impl=impl).is_contiguous()
    torch.testing.assert_close(out, local_aggregation(value, weight, 3))


def test_empty_batch():
    value, weight = example(8, 2, 3, 1, 5, 4, batch=0)
    assert local_aggregation(value, weight, 3).shape == (0, 8, 5, 4)


@pytest.mark.parametrize(("s", "d", "groups"), [(1, 1, 1), (2, 1, 4), (1, 2, 2), (3, 2, 2)])
def test_named_gradients_equal_autograd_of_the_formula(s, d, groups):
    value, weight = (x.requires_grad_() for x in example(8, 4, 3, s, 6, 5))
    per_group = 4 // groups
    out = formula(value, weight, 3, s, d, lambda c: c // (8 // groups) * per_group + c % per_group)
    grad_out = torch.randn_like(out)
    by_value, by_weight = torch.autograd.grad(out, (value, weight), grad_out)
    geometry = Geometry(3, s, d, groups)
    torch.testing.assert_close(reference.aggregate_grad_value(grad_out, weight, geometry, 6, 5), by_value)
    torch.testing.assert_close(reference.aggregate_grad_weight(grad_out, value, geometry, 4), by_weight)
