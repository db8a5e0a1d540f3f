"""The native CPU kernels equal the float64 reference: instruction sets, layouts, dtypes, shapes and both gradients."""

import itertools
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from cotnet.ops import native_library
from cotnet.ops.local_aggregation import contract, local_aggregation, native, reference
from cotnet.ops.local_aggregation.contract import Geometry
from tests.ops.local_aggregation.oracle import CASES, EPSILON, LAYOUTS, channels_last, check_case, contiguous

LIBRARY = native_library.load()
needs_library = pytest.mark.skipif(isinstance(LIBRARY, str), reason=f"no native library: {LIBRARY}")


def run_script(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**variables, **environment}, timeout=100
    )


@pytest.mark.parametrize("dtype", EPSILON)
def test_every_instruction_set_equals_the_reference(isa: str, dtype: torch.dtype) -> None:
    for case, layout in itertools.product(CASES, LAYOUTS):
        check_case(native, case, dtype, (layout,) * 3)


def test_mixed_layouts_equal_the_reference(isa: str) -> None:
    for case, layouts in itertools.product(CASES[:2], itertools.product(LAYOUTS[:5], repeat=3)):
        check_case(native, case, torch.float32, layouts)
    for case in CASES:
        check_case(native, case, torch.float32, (channels_last,) * 3, groups=case[1] * case[2])


SIZES = st.sampled_from([1, 2, 3, 5, 7, 13, 33])
CASE = st.tuples(
    st.integers(0, 2),  # batch
    st.sampled_from([1, 1, 2, 3]),  # groups
    st.sampled_from([1, 2, 3, 4, 6, 8, 12, 16, 24, 32]),  # heads of a group
    st.sampled_from([1, 2, 7, 8, 9]),  # channels that share a head
    SIZES,
    SIZES,
    st.sampled_from([1, 3, 3, 5]),  # kernel_size
    st.integers(1, 3),  # stride
    st.integers(1, 3),  # dilation
).filter(lambda case: case[1] * case[2] * case[3] * case[4] * case[5] * case[6] ** 2 <= 40_000)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CASE, st.sampled_from(list(EPSILON)), st.tuples(*[st.sampled_from(LAYOUTS)] * 3))
def test_any_shape_and_layout_equals_the_reference(isa: str, case: tuple, dtype: torch.dtype, layouts: tuple) -> None:
    check_case(native, case, dtype, layouts)


@needs_library
@pytest.mark.parametrize("axis", [1, 2], ids=["heads", "taps"])
@pytest.mark.parametrize("broken", ["aggregate", "aggregate_grad_value", "aggregate_grad_weight"])
def test_a_wrong_order_is_caught(broken: str, axis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(native, broken)

    def wrong(first: Tensor, second: Tensor, *options: object) -> Tensor:
        if broken == "aggregate_grad_weight":
            return right(first, second, *options).flip(axis)
        return right(first, second.flip(axis), *options)

    monkeypatch.setattr(native, broken, wrong)
    with pytest.raises(AssertionError, match=rf"^{broken} "):
        check_case(native, (1, 1, 3, 2, 3, 3, 3, 1, 1), torch.float32, (contiguous,) * 3)


@needs_library
def test_results_do_not_depend_on_the_number_of_threads() -> None:
    value, weight = torch.randn(3, 64, 13, 33), torch.randn(3, 8, 9, 13, 33)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            for layout in (contiguous, channels_last):
                v, w = layout(value), layout(weight)
                results.append(native.aggregate(v, w, Geometry(3)))
                results.append(native.aggregate_grad_value(v, w, Geometry(3), 13, 33))
                results.append(native.aggregate_grad_weight(v, v, Geometry(3), 8))
    finally:
        torch.set_num_threads(before)
    for i, result in enumerate(results):
        assert torch.equal(result, results[i % 6])


@needs_library
@pytest.mark.parametrize("layout", [contiguous, channels_last])
def test_opcheck(layout) -> None:
    value = layout(torch.randn(2, 8, 5, 4)).requires_grad_()
    weight = layout(torch.randn(2, 4, 9, 5, 4)).requires_grad_()
    grad = layout(torch.randn(2, 8, 5, 4)).requires_grad_()
    torch.library.opcheck(contract.aggregate, (value, weight, 3, 1, 1, 2))
    torch.library.opcheck(contract.grad_value, (grad, weight, 3, 1, 1, 2, 5, 4))
    torch.library.opcheck(contract.grad_weight, (grad, value, 3, 1, 1, 2, 4))


@needs_library
def test_gradcheck_to_the_second_order() -> None:
    value = torch.randn(1, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(1, 2, 9, 3, 3, dtype=torch.float64, requires_grad=True)

    def run(v: Tensor, w: Tensor) -> Tensor:
        return local_aggregation(v, w, 3, impl="native")

    assert torch.autograd.gradcheck(run, (value, weight))
    assert torch.autograd.gradgradcheck(run, (value, weight))


@needs_library
def test_infinities_beside_the_border_stay_where_they_are() -> None:
    value, weight = torch.randn(1, 16, 5, 5), torch.randn(1, 8, 9, 5, 5)
    value[..., 0], weight[:, :, :, 2, 2] = float("inf"), float("nan")
    for layout in (contiguous, channels_last):
        actual = native.aggregate(layout(value), layout(weight), Geometry(3))
        expected = reference.aggregate(value, weight, Geometry(3))
        torch.testing.assert_close(actual.contiguous(), expected, equal_nan=True)


WIDE = 1518500249


def wide(like: Tensor, kernel_size: int) -> Tensor:
    """A weight of one element that claims nearly as many taps as an int64 can count."""
    return like[:1, :1, 0, 0].reshape(1, 1, 1, 1, 1).expand(1, 1, kernel_size**2, 1, 1)


@needs_library
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda v, w: contract.aggregate(v, w[:, :, :8], 3, 1, 1, 1), r"weight \[2, 4, 9, 5, 4\]"),
        (lambda v, w: contract.aggregate(v, w.double(), 3, 1, 1, 1), "float64"),
        (lambda v, w: contract.aggregate(v, w, 3, 0, 1, 1), "stride=0"),
        (lambda v, w: contract.aggregate(v, w, 3, 1, -1, 1), "dilation=-1"),
        (lambda v, w: contract.aggregate(v, w, 3, 1, 1, 3), "groups=3"),
        (lambda v, w: contract.grad_value(v, w, 3, 1, 1, 1, 6, 4), r"\[N, C, 6, 4\]"),
        (lambda v, w: contract.grad_value(v, w, 3, 1, 1, 1, 0, 4), "height=0"),
        (lambda v, w: contract.grad_value(v, w, 3, 0, 1, 1, 5, 4), "stride=0"),
        (lambda v, w: contract.grad_value(v, w.half(), 3, 1, 1, 1, 5, 4), "float16"),
        (lambda v, w: contract.grad_weight(v, v[:, :4], 3, 1, 1, 1, 4), r"\[2, 4, 5, 4\]"),
        (lambda v, w: contract.grad_weight(v, v.double(), 3, 1, 1, 1, 4), "float64"),
        (lambda v, w: contract.grad_weight(v, v, 3, 1, 1, 1, 3), "heads=3"),
        (lambda v, w: contract.grad_weight(v, v, 3, 1, 1, 1, 0), "heads=0"),
        (lambda v, w: contract.grad_weight(v, v, 3, 1, 1, 1, -4), "heads=-4"),
        (lambda v, w: contract.grad_weight(v, v, 2, 1, 1, 1, 4), "kernel_size=2"),
        (lambda v, w: contract.grad_weight(v[0], v, 3, 1, 1, 1, 4), r"\[8, 5, 4\]"),
        (lambda v, w: contract.aggregate(v[..., :0], w, 3, 1, 1, 1), r"\[2, 8, 5, 0\]"),
        (lambda v, w: contract.aggregate(v, w, 2**40 + 1, 1, 1, 1), str((2**40 + 1) ** 2)),
        (lambda v, w: contract.aggregate(v.int(), w.int(), 3, 1, 1, 1), "int32"),
        (lambda v, w: contract.aggregate(v, w[:1], 3, 1, 1, 1), r"weight \[2, 4, 9, 5, 4\]"),
        (lambda v, w: contract.grad_weight(v, v, 2**31 + 1, 1, 1, 1, 4), str((2**31 + 1) ** 2)),
        (lambda v, w: contract.grad_weight(v, v, 2**40 + 1, 1, 1, 1, 4), str((2**40 + 1) ** 2)),
        (lambda v, w: contract.grad_value(v, w, 3, 2**61, 1, 1, 2**62, 2**62), str(2**62)),
        (lambda v, w: contract.grad_value(v[..., :1, :1], w[..., :1, :1], 3, 2**62, 1, 1, 2**62, 2**62), str(2**62)),
        (lambda v, w: contract.aggregate(v[:1, :1, :1, :1], wide(v, WIDE), WIDE, 1, 1, 1), str(WIDE**2)),
    ],
)
def test_hostile_arguments_raise_with_values(call, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        call(torch.randn(2, 8, 5, 4), torch.randn(2, 4, 9, 5, 4))


@needs_library
def test_the_environment_forces_an_instruction_set() -> None:
    script = "from cotnet.ops import native_library; print(native_library.load().isa)"
    assert run_script(script, COTNET_NATIVE_ISA="baseline").stdout == "baseline\n"


@needs_library
def test_an_unknown_instruction_set_is_an_error() -> None:
    done = run_script("from cotnet.ops import native_library; native_library.load()", COTNET_NATIVE_ISA="mmx")
    assert "COTNET_NATIVE_ISA=mmx" in done.stderr
    assert "expected one of baseline, avx2, avx512" in done.stderr


@needs_library
def test_a_forked_worker_computes() -> None:
    script = """
import os, torch
from cotnet.ops.local_aggregation import local_aggregation
torch.set_num_threads(2)
value, weight = torch.randn(2, 64, 28, 28), torch.randn(2, 8, 9, 28, 28)
expected = local_aggregation(value, weight, 3)
child = os.fork()
torch.set_num_threads(1 if child == 0 else 2)
same = torch.equal(local_aggregation(value, weight, 3), expected)
if child == 0:
    os._exit(0 if same else 1)
assert same and os.waitpid(child, 0)[1] == 0
"""
    done = run_script(script, OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr


@needs_library
def test_a_library_behind_changed_sources_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(native_library, "INTERFACE", native_library.INTERFACE + 1)
    assert "install the package again" in native_library.load.__wrapped__()


def test_without_the_library_torch_serves_and_one_notice_says_so() -> None:
    script = """
import torch
from cotnet.ops.local_aggregation import local_aggregation
value, weight = torch.ones(1, 8, 3, 3, requires_grad=True), torch.ones(1, 4, 9, 3, 3)
for _ in range(2):
    local_aggregation(value, weight, 3).sum().backward()
print(float(value.grad[0, 0, 1, 1]))
local_aggregation(value, weight, 3, impl="native")
"""
    done = run_script(script, COTNET_NATIVE_LIBRARY="/nowhere/library.so")
    assert done.stdout.strip() == "18.0"
    assert done.stderr.count("runs in plain PyTorch") == 1
    assert "RuntimeError: impl='native' is not available" in done.stderr
    assert "/nowhere/library.so" in done.stderr
