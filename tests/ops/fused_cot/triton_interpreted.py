"""The Triton kernels of the fused layer in Triton's interpreter, on the CPU; `test_triton` runs this file by itself.

Triton decides when it is imported whether it interprets, so `TRITON_INTERPRET=1` has to be set before that.
"""

import pytest
import torch

from cotnet.ops.fused_cot import ContextParameters, contract, reference, triton
from cotnet.ops.fused_cot.api import register
from cotnet.ops.local_aggregation import triton as aggregation
from tests.ops.fused_cot.test_fused_cot import error, geometry_of, inputs, oracle

# channels, heads, groups, kernel_size, dilation, batch, height, width
SHAPES = [
    (16, 2, 1, 3, 1, 2, 3, 7),
    (8, 1, 1, 3, 1, 1, 1, 1),
    (24, 3, 1, 3, 2, 1, 3, 9),
    (36, 6, 2, 3, 1, 1, 5, 3),
    (40, 5, 1, 5, 1, 1, 3, 2),
    (36, 3, 3, 1, 1, 2, 2, 3),
    (10, 10, 1, 3, 40, 1, 2, 5),
    (8, 1, 1, 3, 1, 0, 2, 2),
]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def _serve_the_cpu(monkeypatch):
    monkeypatch.setattr(aggregation, "unavailable", lambda x: None)


def run(maps, tail, options, dtype=torch.float64):
    """The implementation's answer, and the oracle's to the same rounded arguments."""
    given = {name: x.to(dtype) for name, x in maps.items()}
    tail = ContextParameters(*(parameter.to(dtype) for parameter in tail.tensors()))
    actual = triton.context(
        given["attention"], given["value"], given["static"], tail, options["eps"], geometry_of(options)
    )
    exact = ContextParameters(*(parameter.double() for parameter in tail.tensors()))
    wide = (given[name].double() for name in ("attention", "value", "static"))
    return actual, oracle(*wide, exact, options)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [*((shape, torch.float32) for shape in SHAPES), *((SHAPES[0], dtype) for dtype in DTYPES), (SHAPES[3], DTYPES[2])],
    ids=str,
)
def test_equals_the_float64_reference(shape, dtype):
    maps, _, tail, options = inputs(*shape, behind=dtype in DTYPES[::2])
    actual, exact = run(maps, tail, options, dtype)
    assert actual.dtype == dtype
    assert actual.is_contiguous(memory_format=torch.channels_last)
    # Dynamic context and output are rounded; the interpreter cuts to a bfloat16 where a GPU rounds.
    assert error(actual, exact) <= (16 if dtype == torch.float64 else 8) * torch.finfo(dtype).eps


@pytest.mark.parametrize(("tile", "most", "least"), [((4, 2), 1, 16), ((32, 1), 3, 8), ((1, 8), 128, 1)])
def test_each_shape_of_tile_and_division(tile, most, least, monkeypatch):
    kernels = triton.load()
    config = kernels.triton.Config({"BLOCK_PIXELS": tile[0], "BLOCK_HEADS": tile[1]})
    for name in ("moments", "contexts"):
        monkeypatch.setattr(getattr(kernels, name), "configs", [config])
    maps, _, tail, options = inputs(*SHAPES[2], behind=True)
    monkeypatch.setattr(triton, "_MOST_PARTS", most)
    monkeypatch.setattr(triton, "_PIXELS_OF_PART", least)
    actual, exact = run(maps, tail, options)
    assert error(actual, exact) < 1e-14


def test_a_mean_far_from_zero_costs_no_digits():
    maps, _, tail, options = inputs(*SHAPES[0])
    maps["attention"] = maps["attention"] + 1000
    actual, exact = run(maps, tail, options, torch.float32)
    assert (
        error(actual, exact) < 2e-4
    )  # float32 has a spacing of 6e-5 there; the variance from squares would be 6 % off


def test_offsets_of_64_bits(monkeypatch):
    monkeypatch.setattr(aggregation, "FITS_32_BITS", 0)
    maps, _, tail, options = inputs(*SHAPES[0], behind=True)
    actual, exact = run(maps, tail, options)
    assert error(actual, exact) < 1e-14


def test_other_layouts_and_the_whole_layer():
    maps, projections, tail, options = inputs(*SHAPES[3])
    expected = run(maps, tail, options)[0]
    other = {name: x.contiguous().flip(3).contiguous().flip(3) for name, x in maps.items()}
    assert torch.equal(run(other, tail, options)[0], expected)
    whole = triton.cot(maps["x"], maps["static"], projections, tail, options["eps"], geometry_of(options))
    attention, value = reference.project(maps["x"], maps["static"], projections, options["groups"])
    exact = oracle(attention, value, maps["static"], tail, options)
    assert error(whole, exact) < 1e-14


@pytest.mark.parametrize("name", ContextParameters._fields)
def test_a_planted_mistake_is_caught(name):
    maps, _, tail, options = inputs(*SHAPES[5], behind=True)
    _, exact = run(maps, tail, options)
    wrong = getattr(tail, name)
    actual, _ = run(maps, tail._replace(**{name: wrong.roll(1, 0)}), options)
    assert error(actual, exact) > 1e-4


def test_opcheck():
    register(triton, "CPU", allow_override=True)
    maps, _, tail, options = inputs(*SHAPES[0], dtype=torch.float32, behind=True)
    torch.library.opcheck(
        contract.context, (maps["attention"], maps["value"], maps["static"], tail.tensors(), *options.values())
    )
