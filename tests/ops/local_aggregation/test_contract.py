"""The contract: gradients of every order, opcheck for each op, autocast, FLOPs, and errors that show the values."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

from cotnet import local_aggregation
from cotnet.ops.local_aggregation import contract

OPTIONS = (3, 2, 2, 2)


@pytest.fixture
def arguments():
    """Small arguments of the three ops."""
    torch.manual_seed(0)
    value = torch.randn(2, 8, 5, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 4, 9, 3, 2, dtype=torch.float64, requires_grad=True)
    grad_out = torch.randn(2, 8, 3, 2, dtype=torch.float64, requires_grad=True)
    return {
        "local_aggregation": (value, weight, *OPTIONS),
        "local_aggregation_grad_value": (grad_out, weight, *OPTIONS, 5, 4),
        "local_aggregation_grad_weight": (grad_out, value, *OPTIONS, 4),
    }


def test_every_op_of_the_library_is_checked(arguments):
    ours = {name.split("::")[1].split(".")[0] for name in torch._C._dispatch_get_all_op_names() if "cotnet::" in name}
    elsewhere = {"fused_context", "fused_cot", "winograd_conv"}  # each in its own folder
    elsewhere |= {"int8_conv", "int8_conv_to_float", "int8_cot", "int8_pool", "int8_quantize"}
    assert ours == {*arguments, *elsewhere}


@pytest.mark.parametrize("name", ["local_aggregation", "local_aggregation_grad_value", "local_aggregation_grad_weight"])
def test_op(arguments, name):
    op = getattr(torch.ops.cotnet, name)
    first, second, *rest = arguments[name]
    torch.library.opcheck(op, arguments[name])
    assert torch.autograd.gradcheck(lambda a, b: op(a, b, *rest), (first, second))
    assert torch.autograd.gradgradcheck(lambda a, b: op(a, b, *rest), (first, second))


def test_a_gradient_is_computed_only_where_needed(arguments):
    value, weight, *rest = arguments["local_aggregation"]
    torch.ops.cotnet.local_aggregation(value, weight.detach(), *rest).sum().backward()
    assert value.grad is not None
    assert weight.grad is None


def test_value_and_weight_alone_are_saved():
    value, weight = torch.randn(1, 8, 4, 4, requires_grad=True), torch.randn(1, 2, 9, 4, 4, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        local_aggregation(value, weight, 3)
    assert [x.data_ptr() for x in saved] == [value.data_ptr(), weight.data_ptr()]


def test_transforms_of_torch_func_run_through_the_reference():
    value, weight = torch.randn(3, 2, 4, 3, 2), torch.randn(2, 2, 9, 3, 2)

    def loss(v, w):
        return local_aggregation(v, w, 3).square().sum()

    by_value = torch.vmap(torch.func.grad(loss), in_dims=(0, None))(value, weight)
    for v, gradient in zip(value, by_value, strict=True):
        leaf = v.clone().requires_grad_()
        torch.testing.assert_close(gradient, torch.autograd.grad(loss(leaf, weight), leaf)[0])
    out, tangent = torch.func.jvp(lambda v: local_aggregation(v, weight, 3), (value[0],), (value[1],))
    torch.testing.assert_close(out, local_aggregation(value[0], weight, 3))
    torch.testing.assert_close(tangent, local_aggregation(value[1], weight, 3))
    with pytest.raises(RuntimeError, match=r"impl='native' is not available"):
        torch.vmap(lambda v: local_aggregation(v, weight, 3, impl="native"))(value)


@pytest.mark.parametrize("last", [torch.contiguous_format, torch.channels_last], ids=str)
def test_vmap_alone_and_over_forward_mode_in_both_layouts(last):
    maps = torch.randn(6, 4, 3, 2).contiguous(memory_format=last).unflatten(0, (3, 2))
    weight, tangent = torch.randn(2, 2, 9, 3, 2), torch.randn(2, 4, 3, 2)

    def aggregate(v):
        return local_aggregation(v, weight, 3)

    torch.testing.assert_close(torch.vmap(aggregate)(maps), torch.stack([aggregate(v) for v in maps]))
    tangents = torch.vmap(lambda v: torch.func.jvp(aggregate, (v,), (tangent,))[1])(maps)
    torch.testing.assert_close(tangents, aggregate(tangent).expand(3, -1, -1, -1, -1))


def test_forward_mode_where_nothing_requires_a_gradient():
    value, tangent, weight = torch.randn(2, 4, 3, 2), torch.randn(2, 4, 3, 2), torch.randn(2, 2, 9, 3, 2)
    expected = local_aggregation(tangent, weight, 3)
    with forward_ad.dual_level():
        out = forward_ad.unpack_dual(local_aggregation(forward_ad.make_dual(value, tangent), weight, 3))
    torch.testing.assert_close(out.tangent, expected)


def test_the_meta_device_computes_shapes():
    value = torch.randn(2, 8, 5, 4, device="meta").to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(2, 2, 9, 3, 2, device="meta", requires_grad=True)
    out = local_aggregation(value, weight, 3, stride=2)
    assert out.shape == (2, 8, 3, 2)
    assert out.is_contiguous(memory_format=torch.channels_last)
    out.sum().backward()
    assert value.grad.shape == value.shape
    assert weight.grad.shape == weight.shape


@pytest.mark.parametrize(
    ("op", "first", "second", "sizes"),
    [
        (contract.aggregate, (2, 8, 5, 4), (2, 2, 9, 5, 4), ()),
        (contract.grad_value, (2, 8, 5, 4), (2, 2, 9, 5, 4), (5, 4)),
        (contract.grad_weight, (2, 8, 5, 4), (2, 8, 5, 4), (2,)),
    ],
)
def test_a_tensor_without_data_among_others_is_refused(op, first, second, sizes):
    for devices in (("cpu", "meta"), ("meta", "cpu")):
        a, b = (torch.zeros(shape, device=device) for shape, device in zip((first, second), devices, strict=True))
        with pytest.raises(ValueError, match="one device, got cpu, meta"):
            op(a, b, 3, 1, 1, 1, *sizes)


def test_autocast_casts_both_as_a_convolution_does():
    value, weight = torch.randn(1, 8, 4, 4, dtype=torch.bfloat16), torch.randn(1, 2, 9, 4, 4, requires_grad=True)
    with pytest.raises(TypeError, match=r"bfloat16 and torch\.float32"):
        local_aggregation(value, weight, 3)
    with torch.autocast("cpu", torch.bfloat16):
        out = local_aggregation(value, weight, 3)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32


def test_flops():
    value, weight = torch.randn(2, 8, 6, 5, requires_grad=True), torch.randn(2, 2, 9, 6, 5, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        local_aggregation(value, weight, 3).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * 2 * 8 * 6 * 5 * 9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel_size": 2}, "odd kernel_size, got kernel_size=2"),
        ({"kernel_size": 5}, r"expected weight \[2, 2, 25, 5, 4\]"),
        ({"kernel_size": 0}, "kernel_size=0"),
        ({"stride": 0}, "stride=0"),
        ({"stride": -1}, "stride=-1"),
        ({"stride": 2**63}, f"below .* stride={2**63}"),
        ({"stride": 2}, r"expected weight \[2, 2, 9, 3, 2\]"),
        ({"dilation": -2}, "dilation=-2"),
        ({"dilation": 2**63}, f"below .* dilation={2**63}"),
        ({"groups": 3}, "channels=8, heads=2, groups=3"),
        ({"grouping": "mixed"}, "'mixed'"),
        ({"impl": "magic"}, "'magic'"),
        ({"value": torch.ones(2, 9, 5, 4)}, "channels=9, heads=2"),
        ({"value": torch.ones(3, 8, 5, 4)}, r"expected weight \[3, 2, 9, 5, 4\]"),
        ({"value": torch.ones(2, 8, 0, 4)}, r"\[2, 8, 0, 4\]"),
        ({"value": torch.ones(8, 5, 4)}, r"\[8, 5, 4\]"),
        ({"weight": torch.ones(2, 0, 9, 5, 4)}, "heads=0"),
    ],
)
def test_errors_show_the_values(change, words):
    arguments = {"value": torch.ones(2, 8, 5, 4), "weight": torch.ones(2, 2, 9, 5, 4), "kernel_size": 3} | change
    with pytest.raises(ValueError, match=words):
        local_aggregation(**arguments)


@pytest.mark.parametrize("change", [{"value": torch.ones(2, 8, 5, 4, dtype=torch.int64)}, {"kernel_size": 3.0}])
def test_wrong_types(change):
    arguments = {"value": torch.ones(2, 8, 5, 4), "weight": torch.ones(2, 2, 9, 5, 4), "kernel_size": 3} | change
    with pytest.raises(TypeError):
        local_aggregation(**arguments)


def test_a_float_type_that_no_implementation_computes_in():
    value, weight = torch.ones(2, 8, 5, 4).to(torch.float8_e5m2), torch.ones(2, 2, 9, 5, 4).to(torch.float8_e5m2)
    for impl in ("auto", "reference"):
        with pytest.raises(TypeError, match=r"float32, float64, bfloat16 or float16, got torch\.float8_e5m2"):
            local_aggregation(value, weight, 3, impl=impl)


@pytest.mark.parametrize("distance", [2**31, 2**63 - 1])
def test_distances_far_beyond_the_image(distance):
    value = torch.randn(2, 8, 5, 4, requires_grad=True)
    for option, size in (("dilation", (5, 4)), ("stride", (1, 1))):
        weight = torch.randn(2, 2, 9, *size, requires_grad=True)
        expected = local_aggregation(value, weight, 3, **{option: 5})
        gradients = torch.autograd.grad(expected.sum(), (value, weight))
        for impl in ("auto", "reference"):
            actual = local_aggregation(value, weight, 3, **{option: distance}, impl=impl)
            torch.testing.assert_close(actual, expected)
            torch.testing.assert_close(torch.autograd.grad(actual.sum(), (value, weight)), gradients)
