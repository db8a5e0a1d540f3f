"""BatchNorm with its activation and residual: native kernels against float64, and what goes elsewhere."""

import itertools

import pytest
import torch
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from cotnet.ops.batch_norm_act import batch_norm_act, native, reference

ENDS = [(None, False), ("relu", False), ("silu", False), ("relu", True)]
# batch, channels, height, width: below a vector, not a multiple of one, one pixel, several chunks of rows
SHAPES = [(2, 3, 5, 4), (3, 33, 1, 1), (1, 48, 7, 13), (2, 64, 33, 33), (1, 1, 2, 1), (2, 1040, 7, 3)]


def arguments(shape, with_residual, dtype=torch.float32, mean=0.5):
    """x, residual, weight, bias, running_mean, running_var; and a gradient of the output."""
    torch.manual_seed(sum(shape))
    maps = [torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last) for _ in range(3)]
    x, residual, grad = (maps[0] * 2 + mean).to(dtype), maps[1], maps[2]
    weight, bias = 0.5 + torch.rand(shape[1]), torch.randn(shape[1])
    inputs = [x, residual if with_residual else None, weight, bias]
    inputs = [None if t is None else t.requires_grad_() for t in inputs]
    return [*inputs, torch.randn(shape[1]), torch.rand(shape[1])], grad


def results(run, inputs, grad, act):
    """Output, running statistics, and gradients by name."""
    inputs = [None if t is None else t.detach().clone().requires_grad_(t.requires_grad) for t in inputs]
    out = run(*inputs, momentum=0.3, eps=1e-3, act=act)
    names = ("x", "residual", "weight", "bias")
    differentiated = {n: t for n, t in zip(names, inputs[:4], strict=True) if t is not None}
    gradients = torch.autograd.grad(out, list(differentiated.values()), grad)
    found = dict(zip(differentiated, gradients, strict=True))
    return {"out": out.detach(), "running_mean": inputs[4], "running_var": inputs[5], **found}


def exact_results(inputs, grad, act):
    inputs = [None if t is None else t.detach().double().requires_grad_(t.requires_grad) for t in inputs]
    return results(reference.batch_norm_act, inputs, grad.double(), act)


def check(actual, exact, dtype, shape):
    # One rounding of the result, and float32 sums over the positions of a channel.
    positions = shape[0] * shape[2] * shape[3]
    accumulated = 16 * torch.finfo(torch.float32).eps * (1 + positions**0.5)
    for name, expected in exact.items():
        rounding = torch.finfo(dtype).eps if name in ("out", "x", "residual") else 0
        error = (actual[name].double() - expected).abs().max()
        assert error <= (rounding + accumulated) * (1 + expected.abs().max()), (name, float(error))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("act", "with_residual"), ENDS)
def test_native_equals_float64(isa, dtype, act, with_residual):
    for shape in SHAPES:
        inputs, grad = arguments(shape, with_residual, dtype)
        assert native.unavailable(*inputs[:2], tuple(inputs[2:]), act) is None
        if act == "relu":  # where the sign before it is a matter of roundings, so is the gradient
            grad = grad.masked_fill(exact_results(inputs, grad, None)["out"].abs() < 1e-4, 0)
        exact = exact_results(inputs, grad, act)
        actual = results(batch_norm_act, inputs, grad, act)
        # Of two positions one becomes 1 and the other -1, whatever they were: all gradient is rounding.
        if shape[0] * shape[2] * shape[3] == 2:
            del exact["x"]
        check(actual, exact, dtype, shape)


@pytest.mark.parametrize("change", [{"act": None}, {"weight": 1.001}, {"bias": 0.001}, {"running_var": 1.001}])
def test_planted_mistakes_are_seen(change):
    shape = (2, 64, 9, 9)
    inputs, grad = arguments(shape, False)
    exact, act = exact_results(inputs, grad, "relu"), change.get("act", "relu")
    wrong = [t if t is None else t.detach().clone().requires_grad_(t.requires_grad) for t in inputs]
    with torch.no_grad():
        wrong[2].mul_(change.get("weight", 1)), wrong[3].add_(change.get("bias", 0))
        wrong[5].mul_(change.get("running_var", 1))
    with pytest.raises(AssertionError):
        check(results(batch_norm_act, wrong, grad, act), exact, torch.float32, shape)


def test_a_mean_far_from_zero_costs_no_variance(isa):
    shape = (2, 16, 40, 40)
    inputs, grad = arguments(shape, False, mean=1000.0)
    exact = exact_results(inputs, grad, None)["running_var"]
    actual = results(batch_norm_act, inputs, grad, None)["running_var"]
    torch.testing.assert_close(actual.double(), exact, rtol=1e-5, atol=0)


def test_results_do_not_depend_on_the_threads():
    inputs, grad = arguments((4, 64, 30, 30), True)
    before, found = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(results(batch_norm_act, inputs, grad, "relu"))
    torch.set_num_threads(before)
    for name, first in found[0].items():
        assert torch.equal(first, found[1][name]), name


@pytest.mark.parametrize(("act", "with_residual"), ENDS)
def test_second_backward_pass(act, with_residual):
    inputs, grad = arguments((2, 8, 4, 3), with_residual)

    def second(run, dtype):
        own = [None if t is None else t.detach().to(dtype).requires_grad_(t.requires_grad) for t in inputs]
        differentiated = [t for t in own[:4] if t is not None]
        first = torch.autograd.grad(
            run(*own, momentum=0.1, eps=1e-5, act=act), differentiated, grad.to(dtype), create_graph=True
        )
        total = sum(g.sin().sum() for g in first)
        return torch.autograd.grad(total, differentiated, allow_unused=True)

    pairs = zip(second(batch_norm_act, torch.float32), second(reference.batch_norm_act, torch.float64), strict=True)
    for actual, exact in pairs:
        zeros = torch.zeros((), dtype=torch.float64)
        actual, exact = (zeros if t is None else t.double() for t in (actual, exact))
        torch.testing.assert_close(*torch.broadcast_tensors(actual, exact), rtol=1e-4, atol=1e-4)


def test_only_what_the_next_layer_keeps_is_saved():
    inputs, _ = arguments((2, 16, 6, 5), True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        out = batch_norm_act(*inputs, act="relu")
    maps = {t.data_ptr() for t in saved if t.ndim == 4}
    assert maps == {inputs[0].data_ptr(), out.data_ptr()}


def test_nan_passes_the_activation():
    for act in ("relu", "silu"):
        inputs, _ = arguments((2, 20, 3, 3), False)
        with torch.no_grad():
            inputs[0][0, 4, 1, 1] = float("nan")
        out = batch_norm_act(*inputs, act=act)
        assert out[:, 4].isnan().all()
        assert not out[:, :4].isnan().any()


def test_checkpointing_and_frozen_parameters():
    (x, residual, weight, bias, *statistics), grad = arguments((2, 16, 5, 5), True)
    weight, bias = weight.detach(), bias.detach()

    def run(x, residual):
        return batch_norm_act(x, residual, weight, bias, *[s.clone() for s in statistics], act="relu")

    plain = torch.autograd.grad(run(x, residual), (x, residual), grad)
    again = torch.autograd.grad(checkpoint(run, x, residual, use_reentrant=False), (x, residual), grad)
    for first, second in zip(plain, again, strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("backend", ["aot_eager"])
def test_compiled_programs_hold_standard_operators(backend):
    inputs, grad = arguments((2, 16, 5, 5), True)
    compiled = torch.compile(batch_norm_act, fullgraph=True, backend=backend)
    actual, exact = results(compiled, inputs, grad, "relu"), exact_results(inputs, grad, "relu")
    check(actual, exact, torch.float32, (2, 16, 5, 5))


def test_forward_mode():
    inputs, tangent = arguments((2, 8, 5, 4), False)
    inputs = [None if t is None else t.detach() for t in inputs]

    def run(x):
        return batch_norm_act(x, None, *inputs[2:4], torch.zeros(8), torch.ones(8), act="silu")

    expected = torch.func.jvp(run, (inputs[0],), (tangent,))[1]
    with forward_ad.dual_level():
        out = forward_ad.unpack_dual(run(forward_ad.make_dual(inputs[0], tangent)))
    torch.testing.assert_close(out.tangent, expected)


def test_everything_else_goes_through_pytorch():
    (x, _, *parameters), _ = arguments((2, 16, 5, 5), False)
    x, parameters = x.detach(), tuple(p.detach() for p in parameters)
    assert native.unavailable(x, None, parameters, "relu") is None
    others = [x.contiguous(), x.double(), x[:, ::2], x[:1, :, :1, :1], x.to("meta"), torch.nn.Parameter(x)]
    assert all(native.unavailable(other, None, parameters, "relu") for other in others)
    for position, replacement in itertools.product(range(4), (None, torch.ones(16).double(), torch.ones(8))):
        assert native.unavailable(x, None, (*parameters[:position], replacement, *parameters[position + 1 :]), "relu")
    assert native.unavailable(x, x[:, :, :1], parameters, "relu")
    assert native.unavailable(x, x, parameters, "silu")
