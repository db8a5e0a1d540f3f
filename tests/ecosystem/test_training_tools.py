"""Synchronised norms, moving averages, checkpointing and functional calls over layers and networks."""

import copy

import pytest
import torch
from timm.layers import convert_sync_batchnorm
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.checkpoint import checkpoint

import cotnet
from tests.ecosystem.family import NETWORKS, PARTS, difference, image, part


@pytest.mark.parametrize("conversion", [nn.SyncBatchNorm.convert_sync_batchnorm, convert_sync_batchnorm])
@pytest.mark.parametrize("name", PARTS)
def test_synchronised_norms(name, conversion):
    model, x = part(name), image(name)
    synchronised = conversion(copy.deepcopy(model)).eval()
    assert not any(type(module) is nn.BatchNorm2d for module in synchronised.modules())
    assert difference(synchronised(x), model(x)) < 1e-5
    with torch.no_grad():
        assert difference(cotnet.fuse(synchronised)(x), model(x)) < 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_moving_averages(name):
    model, x = part(name, train=True), image(name)
    averages = [ModelEmaV3(model, decay=0.5), AveragedModel(model)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        averages[0].update(model)
        averages[1].update_parameters(model)
    update_bn([x], averages[1])
    for average in averages:
        inner = average.module.eval()
        with torch.no_grad():
            assert difference(cotnet.fuse(inner)(x), inner(x)) < 1e-4


@pytest.mark.parametrize("name", PARTS)
def test_checkpointing_and_functional_calls(name):
    model, x = part(name, train=True), image(name)
    again, functional = copy.deepcopy(model), copy.deepcopy(model)
    expected = model(x)
    expected.square().mean().backward()
    out = checkpoint(again, x, use_reentrant=False)
    out.square().mean().backward()
    assert torch.equal(out, expected)
    for one, two in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad)
    parameters = {key: value.detach().clone().requires_grad_() for key, value in functional.named_parameters()}
    out = torch.func.functional_call(functional, parameters, (x,))
    assert torch.equal(out, expected)
    out.square().mean().backward()
    for key, value in model.named_parameters():
        assert torch.equal(parameters[key].grad, value.grad)


@pytest.mark.parametrize("name", [name for name in PARTS if name not in ("drconv", "relatives")])
def test_gradients_of_each_sample(name):
    model, x = part(name), image(name)
    parameters = {key: value.detach() for key, value in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(parameters, one):
        return torch.func.functional_call(model, (parameters, buffers), (one[None],)).square().mean()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    model(x[1:2]).square().mean().backward()
    for key, value in model.named_parameters():
        torch.testing.assert_close(each[key][1], value.grad, atol=1e-4, rtol=1e-3)
