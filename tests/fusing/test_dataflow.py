"""Which module feeds which, read from a network's forward without touching it."""

import pytest
import torch
from torch import nn

from cotnet.fusing.dataflow import Dataflow


def is_leaf(module):
    return type(module).__module__.startswith("torch.nn") and not isinstance(module, nn.Sequential)


class Forks(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.other = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)
        self.calls = 0

    def forward(self, x, *, scale=None):
        self.calls += 1
        y = self.conv(x)
        self.norm.num_batches_tracked.add_(1)
        return self.norm(y) + self.other(nn.functional.relu(y)) * self.other.bias[0]


def test_sources_and_readers():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), Forks()).eval()
    flow = Dataflow(model, is_leaf)
    sources = {flow.module(node): flow.source(node) for node in flow.nodes}
    assert list(sources) == [model[0], model[1], model[2].conv, model[2].norm, model[2].other]
    assert flow.module(sources[model[1]]) is model[0]
    assert flow.module(sources[model[2].conv]) is model[1]
    assert sources[model[2].norm] is None  # its argument has a second reader
    assert sources[model[0]] is None
    assert flow.read_directly() == {model[2].norm, model[2].other}


def test_the_network_is_not_touched():
    model = Forks().eval()
    before, attributes = {k: v.clone() for k, v in model.state_dict().items()}, dict(vars(model))
    call = nn.Module.__call__
    Dataflow(model, is_leaf)
    assert vars(model) == attributes
    assert model.calls == 0
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in before.items())
    assert "forward" not in vars(model.conv)
    assert nn.Module.__call__ is call


class AnyNumber(nn.Module):
    def forward(self, *images):
        return images[0]


class FollowsTheData(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize("model", [AnyNumber(), FollowsTheData()], ids=lambda model: type(model).__name__)
def test_what_cannot_be_followed_raises(model):
    with pytest.raises(Exception, match=r"any number of arguments|symbolically traced"):
        Dataflow(model, is_leaf)
