"""Local similarity against a plain loop transcription."""

import pytest
import torch

from cotnet import local_aggregation
from cotnet.ops.local_similarity import local_similarity


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
    for impl in ("auto", "reference"):
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"heads": 3}, "channels=8, maps=3"),
        ({"heads": 0}, "groups=0"),
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
