"""When a norm and what follows it run as one, and that nothing else changes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cotnet.layers import norm as norms
from cotnet.layers.norm import norm_act


@pytest.fixture
def calls(monkeypatch):
    """How often the norm and what follows it ran as one."""
    found = []

    def counted(*args, **kwargs):
        found.append(kwargs)
        return run(*args, **kwargs)

    run = norms.batch_norm_act
    monkeypatch.setattr(norms, "batch_norm_act", counted)
    return found


def image():
    torch.manual_seed(0)
    return torch.randn(2, 16, 5, 4).contiguous(memory_format=torch.channels_last)


def test_a_plain_norm_in_training_is_its_module(calls):
    x, norm, same = image(), nn.BatchNorm2d(16, momentum=0.2), nn.BatchNorm2d(16, momentum=0.2)
    torch.testing.assert_close(norm_act(norm, x, "relu", residual=x), F.relu(same(x) + x))
    for name, value in same.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value)
    assert len(calls) == 1


def hooked(norm, add):
    getattr(norm, add)(lambda *args: None)
    return norm


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(16).eval(),
        nn.BatchNorm2d(16, affine=False),
        nn.BatchNorm2d(16, momentum=None),
        nn.BatchNorm2d(16, track_running_stats=False),
        nn.GroupNorm(4, 16),
        nn.Identity(),
        type("Subclass", (nn.BatchNorm2d,), {})(16),
        hooked(nn.BatchNorm2d(16), "register_forward_hook"),
        hooked(nn.BatchNorm2d(16), "register_forward_pre_hook"),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_any_other_module_is_called(calls, norm):
    x = image()
    torch.testing.assert_close(norm_act(norm, x.clone(), "silu"), F.silu(norm(x)))
    assert not calls
