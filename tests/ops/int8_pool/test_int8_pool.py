"""Pooling of bytes: the same bits from every instruction set, and what torch's pooling of floats gives."""

import pytest
import torch
import torch.nn.functional as F

from cotnet.ops.int8_pool import PoolGeometry, contract, int8_pool, reference

GEOMETRIES = [
    PoolGeometry((3, 3), (2, 2), (1, 1)),
    PoolGeometry((2, 2), (2, 2), (0, 0), True),
    PoolGeometry((3, 2), (1, 2), (1, 1), True),
    PoolGeometry((1, 3), (3, 1), (0, 0)),
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("channels", [1, 7, 16, 70])
def test_every_instruction_set_gives_the_references_bits(isa, geometry, channels):
    torch.manual_seed(channels)
    x = torch.randint(0, 256, (2, channels, 7, 9), dtype=torch.uint8)
    for maximum, counts_padding in ((True, True), (False, True), (False, False)):
        actual = int8_pool(x, geometry, maximum=maximum, counts_padding=counts_padding, in_zero=9)
        assert torch.equal(actual, reference.pool(x, geometry, maximum, counts_padding, 9))


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("counts_padding", [True, False])
def test_it_is_torchs_average_of_what_bytes_stand_for(geometry, counts_padding):
    x = torch.randint(0, 256, (2, 5, 7, 9), dtype=torch.uint8)
    kernel, stride, padding, ceil_mode = geometry
    floats = F.avg_pool2d(x.double() - 30, kernel, stride, padding, ceil_mode, counts_padding) + 30
    actual = int8_pool(x, geometry, maximum=False, counts_padding=counts_padding, in_zero=30)
    assert (actual - floats).abs().max() <= 0.5 + 1e-5


def test_contract():
    x = torch.randint(0, 256, (2, 5, 7, 9), dtype=torch.uint8)
    torch.library.opcheck(contract.pool, (x, *GEOMETRIES[0], False, True, 3))


def test_what_does_not_fit_is_refused():
    with pytest.raises(TypeError, match=r"torch\.float32"):
        int8_pool(torch.zeros(1, 1, 5, 5), GEOMETRIES[0], maximum=True)
    with pytest.raises(ValueError, match="at most half"):
        int8_pool(torch.zeros(1, 1, 5, 5, dtype=torch.uint8), PoolGeometry((3, 3), (1, 1), (2, 2)), maximum=True)
