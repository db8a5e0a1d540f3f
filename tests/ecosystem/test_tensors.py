"""Kinds of tensors: without data, fake, of a derived class, lazy views, expanded, sliced and unaligned ones, none."""

import copy

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import cotnet
from cotnet.layers import create_mixer
from cotnet.ops.batch_norm_act import batch_norm_act
from tests.ecosystem.family import NETWORKS, PARTS, difference, image, part


class Marked(torch.Tensor):
    """A tensor of a derived class that computes as any other does."""


def negative(x):
    """The same values as a lazy view of their negatives."""
    return torch._neg_view((-x).contiguous(memory_format=torch.channels_last))


def unaligned(x):
    """The same values, channels_last, from an address that no vector load is aligned to."""
    memory = torch.empty(x.numel() + 1)[1:].view(x.shape[0], *x.shape[2:], x.shape[1])
    return memory.permute(0, 3, 1, 2).copy_(x)


def sliced(x):
    """The same values inside a larger map of NaN."""
    larger = x.new_full([size + 2 for size in x.shape], float("nan"))
    return larger[tuple(slice(1, -1) for _ in x.shape)].copy_(x)


def reversed_order(x):
    return x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)


KINDS = [negative, unaligned, sliced, reversed_order, lambda x: x.as_subclass(Marked), nn.Parameter]


@pytest.mark.parametrize("kind", KINDS, ids=["negative", "unaligned", "sliced", "reversed", "subclass", "parameter"])
@pytest.mark.parametrize("name", PARTS)
def test_kinds_of_inputs_and_gradients(name, kind):
    first, x = part(name, train=name not in NETWORKS), image(name)
    second, out = copy.deepcopy(first), first(x.requires_grad_())
    grad = torch.randn(out.shape)
    grad = grad.contiguous(memory_format=torch.channels_last) if grad.ndim == 4 else grad
    expected = torch.autograd.grad(out, [x, *first.parameters()], grad)
    leaf = x.detach().clone().requires_grad_()
    other = second(kind(leaf) if kind is not nn.Parameter else nn.Parameter(leaf))
    assert difference(other, out) < 1e-5
    inputs = [leaf, *second.parameters()] if kind is not nn.Parameter else list(second.parameters())
    kind_of_grad = {sliced: sliced, reversed_order: reversed_order, nn.Parameter: torch.clone}.get(kind, kind)
    actual = torch.autograd.grad(other, inputs, kind_of_grad(grad) if grad.ndim == 4 else grad)
    scale = max(float(g.abs().max()) for g in expected)
    for one, two in zip(actual, expected[-len(actual) :], strict=True):
        assert float((one - two).abs().max()) < 1e-4 * scale


@pytest.mark.parametrize("kind", KINDS[:5], ids=["negative", "unaligned", "sliced", "reversed", "subclass"])
@pytest.mark.parametrize("name", ["cot", "coxt", "basic", "hybrid"])
def test_kinds_of_inputs_of_fused_networks(name, kind):
    fused, x = cotnet.fuse(part(name)), image(name)
    with torch.no_grad():
        assert difference(fused(kind(x)), fused(x)) < 1e-5


@pytest.mark.parametrize("act", [None, "relu", "silu"])
def test_lazy_views_of_everything_that_a_norm_takes(act):
    torch.manual_seed(0)
    x, residual, grad = (image("cot") + n for n in range(3))
    residual = residual if act == "relu" else None
    weight, bias = torch.rand(32), torch.randn(32)
    leaf = x.clone().requires_grad_()
    expected = batch_norm_act(leaf, residual, weight, bias, torch.zeros(32), torch.ones(32), act=act)
    expected.backward(grad)
    lazy = negative(x).requires_grad_()
    others = [negative(residual) if residual is not None else None, torch._neg_view(-weight), torch._neg_view(-bias)]
    actual = batch_norm_act(lazy, *others, torch.zeros(32), torch.ones(32), act=act)
    actual.backward(negative(grad))
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(lazy.grad, leaf.grad, atol=1e-5, rtol=1e-5)
    for lazy_grad, factor in ((torch._efficientzerotensor(grad.shape), 0), (grad.as_subclass(Marked), 1)):
        again = batch_norm_act(leaf, residual, weight, bias, torch.zeros(32), torch.ones(32), act=act)
        (by_x,) = torch.autograd.grad(again, leaf, lazy_grad)
        torch.testing.assert_close(by_x, factor * leaf.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["cot", "se_conv", "local_attention"])
def test_several_gradients_at_once(name):
    model, x = part(name, train=True), image(name).requires_grad_()
    out = model(x)
    grads = torch.randn(3, *out.shape)
    (together,) = torch.autograd.grad(out, x, grads, is_grads_batched=True, retain_graph=True)
    for one, grad in zip(together, grads, strict=True):
        (expected,) = torch.autograd.grad(out, x, grad, retain_graph=True)
        torch.testing.assert_close(one, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", PARTS)
def test_expanded_inputs(name):
    model, x = part(name), image(name)[:1]
    with torch.no_grad():
        assert difference(model(x.expand(3, -1, -1, -1)), model(x.repeat(3, 1, 1, 1))) < 1e-5
        column = x[..., :1]
        assert difference(model(column.expand_as(x)), model(column.repeat(1, 1, 1, x.shape[3]))) < 1e-5


@pytest.mark.parametrize("name", PARTS)
def test_a_batch_of_none(name):
    model, x = part(name), image(name)
    out = model(x[:0].requires_grad_())
    assert out.shape == (0, *model(x).shape[1:])
    out.sum().backward()
    if any(isinstance(module, cotnet.CoTLayer) for module in model.modules()):
        assert cotnet.fuse(model)(x[:0].detach()).shape == out.shape


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", PARTS)
def test_without_data(name, train):
    model, x = part(name, train=train), image(name)
    expected = model(x)
    assert copy.deepcopy(model).to("meta")(x.to("meta")).shape == expected.shape
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = mode.from_tensor(x)
        out = model(fake)
        assert out.shape == expected.shape
        assert out.stride() == expected.stride()
        out.sum().backward()


@pytest.mark.parametrize("name", PARTS)
def test_inference_mode(name):
    model, x = part(name), image(name)
    with torch.no_grad():
        expected = model(x)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), expected)
        torch.testing.assert_close(part(name)(x), expected)  # made here, too
        assert difference(cotnet.fuse(model)(x), expected) < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_default_dtype_and_device(name):
    x = image(name)
    try:
        torch.set_default_dtype(torch.float64)
        model = part(name)
        assert model(x.double()).dtype == torch.float64
        assert cotnet.fuse(model)(x.double()).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        model = part(name)
    assert all(tensor.device.type == "meta" for tensor in model.state_dict().values())
    assert model(x.to("meta")).shape == (4, 5)
    with torch.device("meta"):  # of a network whose parameters are elsewhere
        assert model.to_empty(device="cpu")(x).device.type == "cpu"


@pytest.mark.parametrize("name", [name for name in PARTS if name not in NETWORKS])
def test_layers_are_made_on_a_device_in_a_dtype(name):
    layer = create_mixer(name, 32, 3, device="meta", dtype=torch.bfloat16)
    kinds = {(tensor.device.type, tensor.dtype) for tensor in layer.state_dict().values() if tensor.is_floating_point()}
    assert kinds == {("meta", torch.bfloat16)}
