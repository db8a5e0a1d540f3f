"""The convolution of bytes: the same bits from every instruction set, whatever the shape, and its contract."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cotnet.ops.int8_conv import ConvGeometry, Requantization, contract, int8_conv, int8_conv_to_float, reference
from cotnet.ops.int8_panels import pack_bytes, unpack_bytes

QUIET = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def problems(draw):
    """A convolution of any shape with bytes of any kind, saturating ones and dead channels among them."""
    groups = draw(st.sampled_from([1, 1, 2, 4]))
    inputs, outputs = draw(st.sampled_from([1, 3, 4, 16, 20])), draw(st.sampled_from([1, 5, 16, 33, 70]))
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (1, 3), (5, 1)]))
    geometry = ConvGeometry(
        kernel,
        draw(st.sampled_from([(1, 1), (2, 2), (1, 3)])),
        draw(st.sampled_from([(0, 0), (1, 1), (2, 3)])),
        draw(st.sampled_from([(1, 1), (2, 1), (1, 2)])),
        groups,
    )
    height, width = draw(st.sampled_from([5, 7, 9])), draw(st.sampled_from([5, 7, 33, 50]))
    torch.manual_seed(draw(st.integers(0, 1000)))
    x = torch.randint(0, 256, (draw(st.sampled_from([1, 2, 5])), groups * inputs, height, width), dtype=torch.uint8)
    weight = torch.randint(-128, 128, (groups * outputs, kernel[0] * kernel[1], inputs), dtype=torch.int8)
    kind = draw(st.sampled_from(["random", "saturating", "equal", "dead"]))
    if kind == "saturating":
        x, weight = torch.full_like(x, 255), torch.where(weight < 0, -128, 127).to(torch.int8)
    elif kind == "equal":
        x = torch.full_like(x, 7)
    elif kind == "dead":
        weight[::2] = 0
    bias = torch.randint(-(10**6), 10**6, (groups * outputs,), dtype=torch.int32)
    multiplier = torch.rand(groups * outputs) * draw(st.sampled_from([0.0, 1e-4, 1e-2, 1e3]))
    zero = draw(st.sampled_from([0, 10, 255]))
    requantization = Requantization(
        draw(st.sampled_from([0, 7, 255])), zero, draw(st.sampled_from([0, zero])), 0.37, 12
    )
    return x, pack_bytes(weight, groups), bias, multiplier, geometry, requantization, draw(st.booleans())


@pytest.mark.parametrize("threads", [1, 3])
@given(problem=problems())
@QUIET
def test_every_instruction_set_gives_the_references_bits(isa, threads, problem):
    x, weight, bias, multiplier, geometry, requantization, skips = problem
    size = geometry.output_size(*x.shape[2:])
    if min(size) < 1:
        return
    skip = torch.randint(0, 256, (len(x), len(bias), *size), dtype=torch.uint8) if skips else None
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        actual = int8_conv(x, weight, bias, multiplier, geometry, requantization, skip=skip)
        floats = int8_conv_to_float(x, weight, bias, multiplier, geometry, requantization.in_zero)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(actual, reference.conv(x, weight, bias, multiplier, skip, geometry, requantization))
    in_zero = requantization.in_zero
    assert torch.equal(floats, reference.conv_to_float(x, weight, bias, multiplier, geometry, in_zero))
    assert actual.is_contiguous(memory_format=torch.channels_last)


def arguments(inputs=12, outputs=20, groups=2):
    torch.manual_seed(0)
    x = torch.randint(0, 256, (2, inputs, 6, 5), dtype=torch.uint8)
    weight = pack_bytes(torch.randint(-127, 128, (outputs, 9, inputs // groups), dtype=torch.int8), groups)
    bias, multiplier = torch.randint(-999, 999, (outputs,), dtype=torch.int32), torch.rand(outputs) * 1e-3
    return x, weight, bias, multiplier, ConvGeometry((3, 3), padding=(1, 1), groups=groups)


def test_the_reference_is_a_convolution():
    x, weight, bias, multiplier, geometry = arguments()
    plain = unpack_bytes(weight, 20, 9, 6, 2).unflatten(1, (3, 3)).permute(0, 3, 1, 2).double()
    padded = F.pad(x.double(), (1, 1, 1, 1), value=3)
    exact = (F.conv2d(padded, plain, bias.double(), groups=2) * multiplier[:, None, None]).round() + 4
    actual = int8_conv(x, weight, bias, multiplier, geometry, Requantization(3, 4))
    assert (actual - exact.clamp(0, 255)).abs().max() <= 1  # where float32 rounds the product to a half


def test_a_planted_mistake_is_seen():
    x, weight, bias, multiplier, geometry = arguments()
    right = int8_conv(x, weight, bias, multiplier, geometry, Requantization(3, 4))
    for wrong in (Requantization(0, 4), Requantization(3, 5), Requantization(3, 4, 60)):
        assert not torch.equal(int8_conv(x, weight, bias, multiplier, geometry, wrong), right)


def test_no_images():
    x, weight, bias, multiplier, geometry = arguments()
    assert int8_conv(x[:0], weight, bias, multiplier, geometry, Requantization(0)).shape == (0, 20, 6, 5)


@pytest.mark.parametrize("skips", [False, True])
def test_contract(skips):
    x, weight, bias, multiplier, geometry = arguments()
    skip = torch.randint(0, 256, (2, 20, 6, 5), dtype=torch.uint8) if skips else None
    torch.library.opcheck(contract.conv, (x, weight, bias, multiplier, skip, *geometry, *Requantization(3, 4)))
    torch.library.opcheck(contract.conv_to_float, (x, weight, bias, multiplier, *geometry, 3))


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"x": torch.zeros(2, 12, 6, 5)}, TypeError, "torch.float32"),
        ({"x": torch.zeros(2, 6, 6, 5, dtype=torch.uint8)}, ValueError, "expected weight"),
        ({"bias": torch.zeros(19, dtype=torch.int32)}, ValueError, "outputs=19"),
        ({"skip": torch.zeros(2, 20, 5, 5, dtype=torch.uint8)}, ValueError, r"expected skip \[2, 20, 6, 5\]"),
        ({"geometry": ConvGeometry((3, 3), groups=2, dilation=(4, 4))}, ValueError, "at least the kernel's size"),
    ],
)
def test_what_does_not_fit_is_refused(change, kind, words):
    x, weight, bias, multiplier, geometry = arguments()
    given = {"x": x, "weight": weight, "bias": bias, "multiplier": multiplier, "geometry": geometry} | change
    with pytest.raises(kind, match=words):
        int8_conv(**given, requantization=Requantization(0))
