"""Floats to bytes: the same bits from every instruction set and layout."""

import pytest
import torch

from cotnet.ops.int8_quantize import api, int8_dequantize, int8_quantize

EXTREMES = torch.tensor([0.5, 1.5, -0.5, 2.5, 1e30, -1e30, float("inf"), float("-inf"), float("nan"), 0.0])


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 1, 1, 1), (1, 16, 9, 33), (2, 5, 1, 40)], ids=str)
def test_every_instruction_set_gives_the_references_bits(isa, shape):
    torch.manual_seed(0)
    x = torch.randn(shape) * 9
    for view in (x, x.contiguous(memory_format=torch.channels_last), x[..., ::2], x.transpose(2, 3), x[:0]):
        assert torch.equal(int8_quantize(view, 10.3, 30), api.reference(view, 10.3, 30))


def test_halves_go_to_even_numbers_and_nothing_overflows(isa):
    x = EXTREMES.reshape(1, 1, 1, -1)
    assert int8_quantize(x, 1.0, 10).flatten().tolist() == [10, 12, 10, 12, 255, 0, 255, 0, 255, 10]


def test_contract():
    torch.library.opcheck(api.quantize, (torch.randn(2, 3, 5, 7), 10.3, 30))


def test_there_and_back_is_within_half_a_step():
    x = torch.rand(2, 3, 8, 8)
    assert (int8_dequantize(int8_quantize(x, 255.0, 0), 1 / 255, 0) - x).abs().max() <= 0.5 / 255 + 1e-6


def test_what_does_not_fit_is_refused():
    with pytest.raises(TypeError, match="float64"):
        int8_quantize(torch.zeros(1, 1, 1, 1, dtype=torch.float64), 1.0, 0)
    with pytest.raises(ValueError, match=r"\[N, C, H, W\]"):
        int8_quantize(torch.zeros(3), 1.0, 0)
