"""The Triton kernels in Triton's interpreter, on the CPU; `test_triton` runs this file in a process of its own.

Triton decides when it is imported whether it interprets, so `TRITON_INTERPRET=1` has to be set before that.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cotnet.ops.local_aggregation import contract, local_aggregation, reference, triton
from cotnet.ops.local_aggregation.api import register
from cotnet.ops.local_aggregation.contract import Geometry
from cotnet.ops.local_similarity import local_similarity
from tests.ops.local_aggregation.oracle import CASES, EPSILON, LAYOUTS, channels_last, check_case, contiguous

# The interpreter cuts a float32 to a bfloat16 where a GPU rounds it.
ULPS = {torch.bfloat16: 1.0}


@pytest.fixture(autouse=True)
def _serve_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "unavailable", lambda x: None)


@pytest.fixture(scope="module")
def _registered() -> None:
    """The Triton implementation in the place of the native one."""
    register(triton, "CPU", allow_override=True)


def small(case: tuple[int, ...]) -> bool:
    batch, groups, heads_of_group, sharing, height, width, k, *_ = case
    return batch * groups * heads_of_group * sharing * height * width * k * k <= 20_000


SMALL_CASES = [case for case in CASES if small(case)]


@pytest.mark.parametrize("layout", [contiguous, channels_last])
@pytest.mark.parametrize("case", SMALL_CASES, ids=str)
def test_equals_the_float64_reference(case, layout):
    check_case(triton, case, torch.float32, (layout,) * 3)


@pytest.mark.parametrize("dtype", EPSILON)
@pytest.mark.parametrize("case", SMALL_CASES[2:4], ids=str)
def test_each_dtype_accumulates_in_float32_or_wider(case, dtype):
    for layout in (contiguous, channels_last):
        check_case(triton, case, dtype, (layout,) * 3, ulps=ULPS.get(dtype, 0.5))


def test_mixed_layouts():
    for i in range(len(LAYOUTS)):
        layouts = tuple(LAYOUTS[(i * factor + factor) % len(LAYOUTS)] for factor in (1, 2, 3))
        check_case(triton, (1, 2, 2, 3, 3, 5, 3, 2, 1), torch.float32, layouts)


def test_expanded_arguments():
    value, weight = torch.randn(1, 8, 4, 1).expand(3, 8, 4, 5), torch.randn(1, 1, 9, 4, 5).expand(3, 4, 9, 4, 5)
    geometry = Geometry(3, groups=2)
    torch.testing.assert_close(triton.aggregate(value, weight, geometry), reference.aggregate(value, weight, geometry))
    grad = torch.randn(()).expand(3, 8, 4, 5)
    torch.testing.assert_close(
        triton.aggregate_grad_value(grad, weight, geometry, 4, 5),
        reference.aggregate_grad_value(grad, weight, geometry, 4, 5),
    )
    torch.testing.assert_close(
        triton.aggregate_grad_weight(grad, value, geometry, 4),
        reference.aggregate_grad_weight(grad, value, geometry, 4),
    )


SIZES = st.sampled_from([1, 2, 3, 5, 7])
CASE = st.tuples(
    st.integers(0, 2),  # batch
    st.sampled_from([1, 2, 3]),  # groups
    st.sampled_from([1, 2, 3, 5]),  # heads of a group
    st.sampled_from([1, 2, 7, 9]),  # channels that share a head
    SIZES,
    SIZES,
    st.sampled_from([1, 3, 5]),  # kernel_size
    st.integers(1, 3),  # stride
    st.integers(1, 3),  # dilation
).filter(lambda case: small(case))


@settings(max_examples=8, deadline=None, derandomize=True)
@given(CASE, st.sampled_from(list(EPSILON)), st.tuples(*[st.sampled_from(LAYOUTS)] * 3))
def test_any_shape_and_layout(case, dtype, layouts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton, "unavailable", lambda x: None)
        check_case(triton, case, dtype, layouts, ulps=ULPS.get(dtype, 0.5))


@pytest.mark.parametrize("tile", [(32, 8), (128, 1), (1, 8), (4, 32)])
def test_each_shape_of_tile(tile, monkeypatch):
    kernels = triton.load()
    config = kernels.triton.Config({"BLOCK_POSITIONS": tile[0], "BLOCK_HEADS": tile[1]})
    for name in ("aggregate", "grad_value", "grad_weight"):
        monkeypatch.setattr(getattr(kernels, name), "configs", [config])
    for layout in (contiguous, channels_last):
        check_case(triton, (1, 2, 3, 9, 2, 3, 3, 1, 1), torch.float32, (layout,) * 3)


def test_offsets_of_64_bits(monkeypatch):
    case = (2, 1, 3, 2, 3, 4, 3, 2, 1)
    monkeypatch.setattr(triton, "FITS_32_BITS", 0)
    check_case(triton, case, torch.float32, (contiguous,) * 3)
    monkeypatch.undo()
    far = 2**31 + 5
    memory = torch.empty(far + 100, dtype=torch.float16)  # only what is touched becomes resident
    value = memory.as_strided((2, 4, 3, 3), (far, 9, 3, 1)).copy_(torch.randn(2, 4, 3, 3))
    weight = torch.randn(2, 2, 9, 3, 3).half()
    expected = reference.aggregate(value, weight, Geometry(3))
    monkeypatch.setattr(triton, "unavailable", lambda x: None)
    torch.testing.assert_close(triton.aggregate(value, weight, Geometry(3)), expected)


@pytest.mark.parametrize("axis", [1, 2], ids=["heads", "taps"])
@pytest.mark.parametrize("broken", ["aggregate", "grad_value", "grad_weight"])
def test_a_planted_mistake_is_caught(broken, axis, monkeypatch):
    launch = triton.launch

    def wrong(kernel, value, out, weight, *options):
        reads = kernel == broken != "grad_weight"
        launch(kernel, value, out, weight.flip(axis) if reads else weight, *options)
        if kernel == broken == "grad_weight":
            weight.copy_(weight.flip(axis))

    monkeypatch.setattr(triton, "launch", wrong)
    with pytest.raises(AssertionError, match=rf"^(aggregate_)?{broken} "):
        check_case(triton, (1, 1, 3, 2, 3, 3, 3, 1, 1), torch.float32, (contiguous,) * 3)


@pytest.mark.usefixtures("_registered")
def test_opcheck():
    value = channels_last(torch.randn(2, 4, 3, 2)).requires_grad_()
    weight = channels_last(torch.randn(2, 2, 9, 3, 2)).requires_grad_()
    grad = channels_last(torch.randn(2, 4, 3, 2)).requires_grad_()
    torch.library.opcheck(contract.aggregate, (value, weight, 3, 1, 1, 2))
    torch.library.opcheck(contract.grad_value, (grad, weight, 3, 1, 1, 2, 3, 2))
    torch.library.opcheck(contract.grad_weight, (grad, value, 3, 1, 1, 2, 2))


@pytest.mark.usefixtures("_registered")
def test_gradcheck_to_the_second_order():
    value = torch.randn(1, 2, 2, 1, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(1, 1, 9, 2, 1, dtype=torch.float64, requires_grad=True)

    def run(v: Tensor, w: Tensor) -> Tensor:
        return local_aggregation(v, w, 3)

    assert torch.autograd.gradcheck(run, (value, weight))
    assert torch.autograd.gradgradcheck(run, (value, weight), fast_mode=True)


@pytest.mark.usefixtures("_registered")
def test_local_similarity():
    query, key = torch.randn(1, 6, 3, 2, requires_grad=True), torch.randn(1, 6, 5, 3, requires_grad=True)
    position = torch.randn(9, 3, requires_grad=True)
    options = {"heads": 2, "position": position, "stride": 2}
    actual = local_similarity(query, key, 3, **options)
    expected = local_similarity(query, key, 3, **options, impl="reference")
    torch.testing.assert_close(actual, expected)
    grad = torch.randn_like(actual)
    leaves = (query, key, position)
    torch.testing.assert_close(torch.autograd.grad(actual, leaves, grad), torch.autograd.grad(expected, leaves, grad))
