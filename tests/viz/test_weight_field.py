"""What summarises a weight field: planted fields have known answers."""

import math

import pytest
import torch

from cotnet.viz import WeightField, entropy, mean_offset, most_varied_heads, window_shares


def one_hot(taps, tap, *, height=2, width=3):
    weight = torch.zeros(1, 1, taps, height, width)
    weight[:, :, tap] = -2.5  # the sign does not matter
    return weight


def test_entropy_of_uniform_and_one_hot_windows():
    assert torch.allclose(entropy(torch.full((2, 4, 9, 3, 3), -0.3)), torch.ones(()))
    assert torch.equal(entropy(one_hot(25, 7)), torch.zeros(1, 1, 2, 3))
    two = one_hot(9, 0) + one_hot(9, 5)
    torch.testing.assert_close(entropy(two), torch.full((1, 1, 2, 3), math.log(2) / math.log(9)))


def test_windows_of_one_cell_or_of_zeros():
    assert torch.equal(entropy(torch.ones(1, 2, 1, 3, 3)), torch.zeros(1, 2, 3, 3))
    zeros = torch.zeros(1, 2, 9, 3, 3)
    assert torch.equal(entropy(zeros), torch.zeros(1, 2, 3, 3))
    assert torch.equal(mean_offset(zeros), torch.zeros(1, 2, 2, 3, 3))


@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("side", [1, 3, 5])
def test_direction_of_a_planted_shift(side, dilation):
    for tap in range(side * side):
        down, right = tap // side - side // 2, tap % side - side // 2
        found = mean_offset(one_hot(side * side, tap), dilation=dilation)[0, 0]
        assert torch.equal(found[0], torch.full((2, 3), float(down * dilation)))
        assert torch.equal(found[1], torch.full((2, 3), float(right * dilation)))


def test_direction_of_a_symmetric_window_is_nothing():
    assert mean_offset(torch.full((1, 1, 9, 2, 2), 0.7)).abs().max() < 1e-6


@pytest.mark.parametrize("taps", [8, 16])
def test_taps_of_no_odd_window_are_refused(taps):
    with pytest.raises(ValueError, match=f"odd number squared, got {taps}"):
        mean_offset(torch.ones(1, 1, taps, 2, 2))


def test_shares_sum_to_one():
    torch.testing.assert_close(window_shares(torch.randn(2, 3, 9, 4, 5)).sum(2), torch.ones(2, 3, 4, 5))


def field(weight, *, groups=1, channels=None):
    return WeightField("layer", "res2", weight, 3, 1, groups, channels or 8 * weight.shape[1], None)


def test_the_heads_that_vary_most_over_the_image():
    weight = torch.ones(1, 6, 9, 4, 4)
    for head in (1, 4):
        weight[:, head] = torch.rand(9, 4, 4)
    assert most_varied_heads(field(weight), 2) == [1, 4]
    assert most_varied_heads(field(weight), 99) == [0, 1, 2, 3, 4, 5]


def test_a_head_filters_interleaved_channels_of_its_part():
    weight = torch.zeros(1, 4, 9, 1, 1)
    assert field(weight).channels_of(1) == [1, 5, 9, 13, 17, 21, 25, 29]
    assert field(weight, groups=2).channels_of(3) == [17, 19, 21, 23, 25, 27, 29, 31]
