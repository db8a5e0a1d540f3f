"""Local similarity against a plain loop transcription."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

from cotnet import local_aggregation, local_similarity
from cotnet.ops import native_library
from cotnet.ops.local_aggregation import contract
from tests.ops.local_aggregation.oracle import LAYOUTS

IMPLS = ("auto", "reference") if isinstance(native_library.load(), str) else ("auto", "native", "reference")


def formula(query, key, k, s, d, heads, position):
    """r[n,h,t,i,j] = sum over c in head of q[n,c,i,j] * (key[n,c,i*s-p+u*d,j*s-p+v*d] + position[t,c])."""
    batch, channels, out_h, out_w = query.shape
    height, width = key.shape[2:]
    per_head, pad = channels // heads, d * (k // 2)
    out = torch.zeros(batch, heads, k * k, out_h, out_w, dtype=query.dtype)
    for c in range(channels):
        for i in range(out_h):
            for j in range(out_w):
                for t in range(k * k):
                    y, x = i * s - pad + t // k * d, j * s - pad + t % k * d
                    inside = 0 <= y < height and 0 <= x < width
                    cell = key[:, c, y, x] if inside else torch.zeros(batch, dtype=key.dtype)
                    out[:, c // per_head, t, i, j] += query[:, c, i, j] * (cell + position[t, c % per_head])
    return out


@pytest.mark.parametrize(("k", "s", "d"), [(1, 1, 1), (3, 1, 1), (3, 2, 1), (5, 1, 2)])
@pytest.mark.parametrize("heads", [1, 2, 8])
def test_equals_the_formula(k, s, d, heads):
    torch.manual_seed(0)
    key = torch.randn(2, 8, 5, 4, dtype=torch.float64)
    query = torch.randn(2, 8, 4 // s + 1, 3 // s + 1, dtype=torch.float64)
    position = torch.randn(k * k, 8 // heads, dtype=torch.float64)
    expected = formula(query, key, k, s, d, heads, position)
    for impl in IMPLS:
        actual = local_similarity(query, key, k, heads=heads, position=position, stride=s, dilation=d, impl=impl)
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_gradients_of_local_self_attention():
    def attention(query, key, value, position):
        weight = local_similarity(query, key, 3, heads=2, position=position).softmax(2)
        return local_aggregation(value, weight, 3, grouping="contiguous")

    torch.manual_seed(0)
    maps = [torch.randn(1, 4, 3, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    position = torch.randn(9, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(attention, (*maps, position))
    assert torch.autograd.gradgradcheck(attention, (*maps, position))


def test_vmap_and_forward_mode():
    query, keys, tangent = torch.randn(2, 8, 5, 4), torch.randn(3, 2, 8, 5, 4), torch.randn(2, 8, 5, 4)
    position = torch.randn(9, 4)

    def similarity(key):
        return local_similarity(query, key, 3, heads=2, position=position)

    torch.testing.assert_close(torch.vmap(similarity)(keys), torch.stack([similarity(key) for key in keys]))
    expected = local_similarity(query, tangent, 3, heads=2)
    with forward_ad.dual_level():
        out = forward_ad.unpack_dual(similarity(forward_ad.make_dual(keys[0], tangent)))
    torch.testing.assert_close(out.tangent, expected)


def test_a_float_type_that_no_implementation_computes_in():
    maps = torch.ones(1, 8, 5, 5).to(torch.float8_e5m2)
    with pytest.raises(TypeError, match=r"query and key of one dtype .* got torch\.float8_e5m2"):
        local_similarity(maps, maps, 3, heads=2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"heads": 3}, "channels=8, heads=3"),
        ({"heads": 0}, "heads=0"),
        ({"kernel_size": 2**40 + 1}, str(2**40 + 1)),
        ({"stride": 0}, "stride=0"),
        ({"dilation": -1}, "dilation=-1"),
        ({"dilation": 2**63}, f"dilation={2**63}"),
        ({"key": torch.ones(2, 8, 5, 5)}, r"key \[2, 8, 5, 5\]"),
        ({"key": torch.ones(1, 8, 0, 5), "query": torch.ones(1, 8, 0, 5)}, r"\[1, 8, 0, 5\]"),
        ({"query": torch.ones(1, 8, 5, 5, device="meta")}, "meta and cpu"),
        ({"position": torch.ones(9, 4, device="meta")}, "device cpu, got meta"),
        ({"kernel_size": 2}, "kernel_size=2"),
        ({"query": torch.ones(1, 6, 5, 5)}, r"query \[1, 6, 5, 5\]"),
        ({"query": torch.ones(1, 8, 4, 5)}, r"\[1, 2, 9, 4, 5\]"),
        ({"position": torch.ones(9, 3)}, r"expected position \[9, 4\], got \[9, 3\]"),
        ({"impl": "magic"}, "'magic'"),
    ],
)
def test_errors_show_the_values(change, words):
    arguments = {"query": torch.ones(1, 8, 5, 5), "key": torch.ones(1, 8, 5, 5), "kernel_size": 3, "heads": 2} | change
    with pytest.raises(ValueError, match=words):
        local_similarity(**arguments)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"query": torch.ones(1, 8, 5, 5, dtype=torch.float64)}, r"float64 and torch\.float32"),
        ({"query": torch.ones(1, 8, 5, 5).int(), "key": torch.ones(1, 8, 5, 5).int()}, "int32"),
        ({"position": torch.ones(9, 4).int()}, "int32"),
        ({"heads": 2.0}, r"heads to be an int, got 2\.0"),
        ({"kernel_size": 3.0}, r"kernel_size to be an int, got 3\.0"),
    ],
)
def test_wrong_types(change, words):
    arguments = {"query": torch.ones(1, 8, 5, 5), "key": torch.ones(1, 8, 5, 5), "kernel_size": 3, "heads": 2} | change
    with pytest.raises(TypeError, match=words):
        local_similarity(**arguments)


def test_an_explicit_request_says_why_it_cannot_be_served():
    query = torch.ones(1, 8, 5, 5)
    with pytest.raises(RuntimeError, match="impl='triton' is not available: expected tensors on a GPU, got cpu"):
        local_similarity(query, query, 3, heads=2, impl="triton")


@pytest.mark.parametrize(
    ("dtype", "cast"),
    [
        (torch.float32, "before"),
        (torch.bfloat16, "before"),
        (torch.float16, "before"),
        (torch.bfloat16, "autocast"),
        (torch.float16, "autocast"),
    ],
)
@pytest.mark.parametrize("impl", IMPLS)
def test_each_similarity_is_rounded_once(dtype, cast, impl):
    torch.manual_seed(0)
    query, key, position = (torch.randn(s).to(dtype) for s in ((2, 64, 5, 6), (2, 64, 5, 6), (9, 32)))
    exact = local_similarity(query.double(), key.double(), 3, heads=2, position=position.double())
    magnitude = local_similarity(query.double().abs(), key.double().abs(), 3, heads=2, position=position.double().abs())
    if cast == "autocast":
        with torch.autocast("cpu", dtype):
            actual = local_similarity(query.float(), key.float(), 3, heads=2, position=position.float(), impl=impl)
    else:
        actual = local_similarity(query, key, 3, heads=2, position=position, impl=impl)
    tolerance = 66 * 2**-23 * magnitude + 0.5 * torch.finfo(dtype).eps * exact.abs() * 1.01
    assert actual.dtype == dtype
    assert ((actual.double() - exact).abs() <= tolerance).all()


def test_two_roundings_are_seen():
    torch.manual_seed(0)
    query, position = torch.randn(2, 64, 5, 6).bfloat16(), torch.randn(9, 32).bfloat16()
    exact = local_similarity(query.double(), query.double(), 3, heads=2, position=position.double())
    by_position = torch.einsum("nhcij,tc->nhtij", query.unflatten(1, (2, -1)), position)
    twice = local_similarity(query, query, 3, heads=2) + by_position
    assert ((twice.double() - exact).abs() > 0.52 * torch.finfo(torch.bfloat16).eps * exact.abs() + 1e-4).any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    torch.manual_seed(0)
    query, key, position = torch.randn(2, 8, 3, 2), torch.randn(2, 8, 5, 4), torch.randn(9, 4)
    options = {"heads": 2, "stride": 2, "dilation": 2}
    expected = local_similarity(query, key, 3, **options, position=position, impl="reference")
    actual = local_similarity(layout(query), layout(key), 3, **options, position=position)
    torch.testing.assert_close(actual, expected)
    last = layout(key).is_contiguous(memory_format=torch.channels_last)
    assert actual.flatten(1, 2).is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def test_opcheck_of_the_named_op_in_its_heads():
    query = torch.randn(2, 8, 3, 2, requires_grad=True)
    key = torch.randn(2, 8, 5, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    torch.library.opcheck(contract.grad_weight, (query, key, 3, 2, 1, 4, 4))


def test_flops():
    query = torch.randn(2, 8, 6, 5, requires_grad=True)
    position = torch.randn(9, 4, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        local_similarity(query, query * 1, 3, heads=2, position=position).sum().backward()
    assert counter.get_total_flops() == 2 * 3 * 2 * 2 * 8 * 6 * 5 * 9


def test_empty_batch():
    query = torch.ones(0, 8, 5, 4)
    assert local_similarity(query, query, 3, heads=2, position=torch.ones(9, 4)).shape == (0, 2, 9, 5, 4)
