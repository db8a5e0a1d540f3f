"""What the predicates accept, and each thing that they must refuse."""

import types

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import parametrize

from cotnet.ops.plain import is_plain_module, is_plain_tensor


class Derived(torch.Tensor):
    pass


def batched():
    found = []
    torch.vmap(lambda x: found.append(is_plain_tensor(x)) or x)(torch.ones(2, 3))
    return found[0]


def test_tensors_whose_memory_holds_their_values():
    x = torch.ones(2, 3)
    assert all(map(is_plain_tensor, (x, x.t(), x[:, 1:], x.expand(4, 2, 3), nn.Parameter(x), x.to("meta"))))
    others = [torch._neg_view(x), (x + 1j).conj(), torch._efficientzerotensor(2), x.as_subclass(Derived), x.to_sparse()]
    with FakeTensorMode() as mode:
        others.append(mode.from_tensor(x))
    assert not any(map(is_plain_tensor, others))
    assert not batched()


def changed(way):
    module = nn.Conv2d(3, 4, 1)
    way(module)
    return module


def derive(module):
    module.__class__ = type("Conv2d", (nn.Conv2d,), {})


def hold_a_derived_tensor(module):
    module.weight = nn.Parameter(module.weight.detach().as_subclass(Derived))


CHANGES = {
    "forward hook": lambda m: m.register_forward_hook(lambda *args: None),
    "forward pre-hook": lambda m: m.register_forward_pre_hook(lambda *args: None),
    "backward hook": lambda m: m.register_full_backward_hook(lambda *args: None),
    "backward pre-hook": lambda m: m.register_full_backward_pre_hook(lambda *args: None),
    "derived class": derive,
    "forward": lambda m: setattr(m, "forward", m.forward),
    "another method": lambda m: setattr(m, "_conv_forward", types.MethodType(nn.Conv2d._conv_forward, m)),
    "compiled call": lambda m: m.compile(backend="eager"),
    "parametrisation": lambda m: parametrize.register_parametrization(m, "bias", nn.Identity()),
    "kind of tensor": hold_a_derived_tensor,
}


@pytest.mark.parametrize("way", CHANGES.values(), ids=CHANGES)
def test_changed_modules(way):
    assert is_plain_module(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d, nn.Conv2d)
    assert not is_plain_module(nn.Conv2d(3, 4, 1), nn.BatchNorm2d)
    assert not is_plain_module(changed(way), nn.Conv2d)


def test_changes_of_the_whole_process(monkeypatch):
    module = nn.Conv2d(3, 4, 1)
    with nn.modules.module.register_module_forward_pre_hook(lambda *args: None):
        assert not is_plain_module(module, nn.Conv2d)
    assert is_plain_module(module, nn.Conv2d)
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, x: x)
    assert not is_plain_module(module, nn.Conv2d)


def test_a_compiler_asks_once():
    module = nn.Conv2d(1, 1, 1)

    def answer(x):
        return x + 1 if is_plain_module(module, nn.Conv2d) else x

    assert torch.compile(answer, fullgraph=True, backend="eager")(torch.zeros(())) == 1
