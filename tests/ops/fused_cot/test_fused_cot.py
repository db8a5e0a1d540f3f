"""The fused operators against float64 in every dtype, instruction set and odd shape, and their contract."""

import math

import pytest
import torch

from cotnet.ops.fused_cot import (
    ContextParameters,
    Projections,
    StaticConv,
    contract,
    fused_context,
    fused_cot,
    pack,
    reference,
    unpack,
)
from cotnet.ops.local_aggregation.contract import Geometry
from cotnet.ops.winograd_conv import transform, winograd_conv

EPS = 1e-5
# channels, heads, groups, kernel_size, dilation, batch, height, width
SHAPES = [
    (64, 8, 1, 3, 1, 2, 7, 13),
    (8, 1, 1, 3, 1, 1, 1, 1),
    (48, 6, 1, 3, 2, 3, 5, 33),
    (96, 12, 2, 3, 1, 1, 13, 7),
    (40, 5, 1, 5, 1, 2, 3, 2),
    (256, 32, 2, 3, 1, 5, 2, 3),
    (160, 20, 1, 3, 40, 1, 13, 33),
    (64, 8, 1, 1, 1, 0, 4, 4),
    (144, 18, 1, 3, 1, 1, 3, 4),
    (384, 48, 2, 3, 1, 1, 2, 3),
]


def inputs(channels, heads, groups, kernel_size, dilation, batch, height, width, dtype=torch.float64, *, behind=False):
    """Maps, projections and parameters of a layer of plausible scale, in channels_last."""
    torch.manual_seed(channels + height)
    weights, hidden, squeezed = heads * kernel_size**2, channels // 2, max(channels // 2, 32)

    def random_map(c, offset=0.0):
        x = torch.randn(batch, c, height, width) + offset
        return x.to(dtype).contiguous(memory_format=torch.channels_last)

    def matrix(rows, columns):
        return torch.randn(rows, columns) / math.sqrt(columns)

    tail = ContextParameters(
        1 + 0.2 * torch.randn(weights),
        torch.randn(weights),
        torch.randn(channels),
        matrix(squeezed, channels),
        torch.randn(squeezed),
        matrix(channels, squeezed),
        torch.randn(channels),
        *((1 + torch.randn(channels), torch.randn(channels)) if behind else ()),
    )
    projections = Projections(
        pack(matrix(hidden, 2 * channels // groups), groups),
        torch.randn(hidden),
        pack(matrix(weights, hidden // groups), groups),
        torch.randn(weights),
        pack(matrix(channels, channels // groups), groups),
        torch.randn(channels),
    )
    return (
        {
            "x": random_map(channels),
            "attention": random_map(weights, 3.0),
            "value": random_map(channels),
            "static": random_map(channels),
        },
        Projections(*(p.to(dtype) for p in projections)),
        ContextParameters(*(p.to(dtype) for p in tail.tensors())),
        {"eps": EPS, "kernel_size": kernel_size, "dilation": dilation, "groups": groups},
    )


def oracle(attention, value, static, tail, options):
    """The reference's answer."""
    return reference.context(attention, value, static, tail, options["eps"], geometry_of(options))


def geometry_of(options):
    return Geometry(options["kernel_size"], dilation=options["dilation"], groups=options["groups"])


def error(actual, exact):
    return float((actual.double() - exact).abs().max() / exact.abs().max()) if exact.numel() else 0.0


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("threads", [1, 2])
def test_native_equals_the_float64_reference(isa, shape, dtype, threads):
    maps, projections, tail, options = inputs(*shape, behind=threads > 1)
    rounded = {k: x.to(dtype) for k, x in maps.items()}
    less = Projections(*(p.to(dtype) for p in projections))
    small = ContextParameters(*(p.to(dtype) for p in tail.tensors()))
    # The oracle starts from what the kernel is given.
    exact_maps = {k: x.double() for k, x in rounded.items()}
    exact_tail = ContextParameters(*(p.double() for p in small.tensors()))
    exact_projections = Projections(*(p.double() for p in less))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        actual = fused_context(rounded["attention"], rounded["value"], rounded["static"], small, **options)
        whole = fused_cot(rounded["x"], rounded["static"], less, small, **options)
    finally:
        torch.set_num_threads(before)
    exact = oracle(exact_maps["attention"], exact_maps["value"], exact_maps["static"], exact_tail, options)
    attention, value = reference.project(exact_maps["x"], exact_maps["static"], exact_projections, options["groups"])
    exact_whole = oracle(attention, value, exact_maps["static"], exact_tail, options)
    # The weight, the aggregation and the dynamic context are rounded on their way, and taps add up.
    tolerance = 8 * torch.finfo(dtype).eps
    assert actual.dtype == dtype
    assert actual.is_contiguous(memory_format=torch.channels_last)
    assert error(actual, exact) <= tolerance
    assert error(whole, exact_whole) <= (3 if dtype == torch.float32 else 8) * tolerance


def static_conv(x, groups):
    channels = x.shape[1]
    weight = torch.randn(channels, channels // groups, 3, 3, dtype=x.dtype) / (9 * channels // groups) ** 0.5
    return StaticConv(weight, transform(weight, groups), torch.randn(channels, dtype=x.dtype), groups)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_static_context_can_be_made_inside(isa, shape, threads):
    maps, projections, tail, options = inputs(*shape, dtype=torch.float32, behind=threads > 1)
    x = maps["x"]
    static = static_conv(x, 8 if shape[0] > 64 else 4)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        static_map = winograd_conv(x, static.weight, static.transformed, static.bias, groups=static.groups, relu=True)
        given = fused_cot(x, static_map, projections, tail, **options)
        made = fused_cot(x, static, projections, tail, **options)
        wrong = static._replace(bias=static.bias.flip(0))
        mistaken = fused_cot(x, wrong, projections, tail, **options)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(made, given)
    assert x.numel() < 256 or error(mistaken, given.double()) > 1e-3
    portable = reference.static_context(x.double(), StaticConv(*(t.double() for t in static[:3]), static.groups))
    assert len(x) == 0 or error(static_map, portable) < 1e-5


def test_planted_mistakes_are_seen(isa):
    maps, _, tail, options = inputs(*SHAPES[0], dtype=torch.float32, behind=True)
    right = fused_context(maps["attention"], maps["value"], maps["static"], tail, **options)
    for wrong in (
        tail._replace(norm_bias=tail.norm_bias.flip(0)),
        tail._replace(dynamic_bias=tail.dynamic_bias + 0.01),
        tail._replace(excite=-tail.excite),
        tail._replace(out_scale=tail.out_scale.flip(0)),
        tail._replace(out_bias=tail.out_bias.flip(0)),
    ):
        assert (
            error(fused_context(maps["attention"], maps["value"], maps["static"], wrong, **options), right.double())
            > 1e-3
        )
    shifted = maps["attention"].roll(1, 1)
    assert error(fused_context(shifted, maps["value"], maps["static"], tail, **options), right.double()) > 1e-3


def test_results_do_not_depend_on_threads_batch_or_layout():
    maps, projections, tail, options = inputs(64, 8, 1, 3, 1, 3, 20, 13, dtype=torch.float32)
    whole = fused_cot(maps["x"], maps["static"], projections, tail, **options)
    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 2)
    again = fused_cot(maps["x"].contiguous(), maps["static"].contiguous(), projections, tail, **options)
    torch.set_num_threads(before)
    single = torch.cat(
        [fused_cot(maps["x"][n : n + 1], maps["static"][n : n + 1], projections, tail, **options) for n in range(3)]
    )
    assert torch.equal(whole, again)
    assert torch.equal(whole, single)


@pytest.mark.parametrize("groups", [1, 2])
def test_panels_come_back(groups):
    weight = torch.randn(72, 24)
    assert torch.equal(unpack(pack(weight, groups), 72, groups), weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("behind", [False, True])
def test_contract(dtype, behind):
    maps, projections, tail, options = inputs(*SHAPES[0], dtype=dtype, behind=behind)
    rest = tuple(options.values())
    torch.library.opcheck(contract.context, (maps["attention"], maps["value"], maps["static"], tail.tensors(), *rest))
    torch.library.opcheck(contract.cot, (maps["x"], [maps["static"]], 0, list(projections), tail.tensors(), *rest))
    *tensors, static_groups = static_conv(maps["x"], 4)
    torch.library.opcheck(contract.cot, (maps["x"], tensors, static_groups, list(projections), tail.tensors(), *rest))


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (
            {"attention": torch.zeros(2, 71, 7, 13)},
            ValueError,
            r"expected attention \[2, 72, 7, 13\], got \[2, 71, 7, 13\]",
        ),
        ({"static": torch.zeros(2, 64, 7, 12)}, ValueError, r"\[2, 64, 7, 13\] and \[2, 64, 7, 12\]"),
        ({"kernel_size": 2}, ValueError, "kernel_size=2"),
        ({"dilation": 0}, ValueError, "dilation=0"),
        ({"groups": 5}, ValueError, "groups=5"),
        ({"value": torch.zeros(2, 64, 7, 13, dtype=torch.float64)}, TypeError, "float64"),
        ({"squeeze": torch.zeros(32, 63)}, ValueError, r"expected squeeze \[32, 64\], got \[32, 63\]"),
        ({"out_scale": torch.zeros(64)}, ValueError, "out_scale and out_bias together"),
        (
            {"out_scale": torch.zeros(64), "out_bias": torch.zeros(63)},
            ValueError,
            r"expected out_bias \[64\], got \[63\]",
        ),
    ],
)
def test_errors_show_the_values(change, kind, words):
    maps, _, tail, options = inputs(*SHAPES[0], dtype=torch.float32)
    tail = tail._replace(**{k: v for k, v in change.items() if k in tail._fields})
    maps |= {k: v for k, v in change.items() if k in maps}
    options |= {k: v for k, v in change.items() if k in options}
    with pytest.raises(kind, match=words):
        fused_context(maps["attention"], maps["value"], maps["static"], tail, **options)


def test_projections_are_checked():
    maps, projections, tail, options = inputs(*SHAPES[0], dtype=torch.float32)
    with pytest.raises(ValueError, match=r"expected expand \[3, 32, 32\], got \[2, 32, 32\]"):
        fused_cot(maps["x"], maps["static"], projections._replace(expand=torch.zeros(2, 32, 32)), tail, **options)
