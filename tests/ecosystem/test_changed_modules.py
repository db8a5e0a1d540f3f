"""Modules are modules: what is done to any part of a layer has the effect that it has in a plain network.

A part whose output is doubled, by whatever means, is compared with the same part of twice the weight, which every fast
path accepts.
"""

import copy
import types
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import cotnet
from cotnet.fusing.cot import FusedCoT
from cotnet.layers import MIXERS
from cotnet.ops.plain import is_plain_module
from tests.ecosystem.family import difference, image, layer

KINDS = (nn.Conv2d, nn.BatchNorm2d, nn.GroupNorm)
PLACES = [
    (name, key)
    for name in MIXERS
    for key, module in layer(name, train=False).named_modules()
    if isinstance(module, KINDS)
]


class Twice(nn.Module):
    """A parametrisation."""

    def forward(self, weight):
        return 2 * weight


def by_weight(module):
    """The oracle: a plain module of twice the weight."""
    with torch.no_grad():
        module.weight.mul_(2)
        if module.bias is not None:
            module.bias.mul_(2)


def by_hook(module):
    module.register_forward_hook(lambda module, args, out: 2 * out)


def by_derived_class(module):
    kind = type(module)
    module.__class__ = type(kind.__name__, (kind,), {"forward": lambda self, x: 2 * kind.forward(self, x)})


def by_forward_of_the_instance(module):
    forward = module.forward
    module.forward = lambda x: 2 * forward(x)


def by_method_of_the_instance(module):
    if not isinstance(module, nn.Conv2d):
        return by_forward_of_the_instance(module)
    convolve = type(module)._conv_forward
    module._conv_forward = types.MethodType(lambda self, *args: 2 * convolve(self, *args), module)


def by_parametrization(module):
    for name in ("weight", "bias"):
        if getattr(module, name) is not None:
            parametrize.register_parametrization(module, name, Twice())


WAYS = [by_hook, by_derived_class, by_forward_of_the_instance, by_method_of_the_instance, by_parametrization]


def answer(model, x, *, gradient=True):
    """Output, and the gradient of the input if wanted."""
    x = x.detach().requires_grad_(gradient)
    torch.manual_seed(0)
    out = model(x)
    if not gradient:
        return (out,)
    return out, torch.autograd.grad(out.square().mean(), x)[0]


# Layers with a fast path of their own meet every way.
CASES = [(name, key, False, way) for name, key in PLACES for way in (WAYS if name in ("cot", "coxt") else WAYS[:2])]
CASES += [(name, key, True, by_hook) for name, key in PLACES]


@pytest.mark.parametrize(("name", "key", "train", "way"), CASES)
def test_every_part_may_be_changed(name, key, train, way):
    original, x = layer(name, train=train), image(name)
    changed, expected = copy.deepcopy(original), copy.deepcopy(original)
    way(changed.get_submodule(key))
    by_weight(expected.get_submodule(key))
    for one, two in zip(answer(changed, x), answer(expected, x), strict=True):
        assert difference(one, two) < 1e-3
    if not train:
        with torch.no_grad():
            assert difference(cotnet.fuse(changed)(x), expected(x)) < 1e-4


@pytest.mark.parametrize(("name", "key"), PLACES)
def test_hooks_are_called(name, key):
    model, calls = layer(name, train=True), []
    module = model.get_submodule(key)
    module.register_forward_pre_hook(lambda *args: calls.append("before"))
    module.register_forward_hook(lambda *args: calls.append("after"))
    module.register_full_backward_hook(lambda *args: calls.append("backward"))
    answer(model, image(name))
    assert calls == ["before", "after", "backward"]
    with nn.modules.module.register_module_forward_hook(lambda part, *args: calls.append(part)):
        answer(layer(name, train=True), image(name))
    assert sum(isinstance(call, KINDS) for call in calls) == sum(isinstance(part, KINDS) for part in model.modules())


@pytest.mark.parametrize("name", ["cot", "coxt", "se_conv", "involution"])
def test_tools_of_torch_on_every_convolution(name):
    x = image(name)
    keys = [key for place, key in PLACES if place == name]
    keys = [key for key in keys if isinstance(layer(name, train=False).get_submodule(key), nn.Conv2d)]
    for key in keys:
        original = layer(name, train=False)
        pruned, masked = copy.deepcopy(original), copy.deepcopy(original)
        for amount in (0.3, 0.5):  # in steps, which read what the step before has left
            prune.l1_unstructured(pruned.get_submodule(key), "weight", amount)
        masked.get_submodule(key).weight.data = pruned.get_submodule(key).weight.data
        assert difference(pruned(x), masked(x)) < 1e-5
        assert difference(pruned(x), original(x)) > 1e-4
        pruned(x).sum().backward()
        prune.remove(pruned.get_submodule(key), "weight")
        assert difference(pruned(x), masked(x)) < 1e-5

        normed = copy.deepcopy(original)
        parametrizations.weight_norm(normed.get_submodule(key))
        assert difference(normed(x), original(x)) < 1e-5
        normed(x).square().sum().backward()
        assert all(p.grad is not None for p in normed.get_submodule(key).parametrizations.parameters())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            old = copy.deepcopy(original)
            nn.utils.weight_norm(old.get_submodule(key))
        old.get_submodule(key).weight_g.data.mul_(2)
        doubled = copy.deepcopy(original)
        doubled.get_submodule(key).weight.data.mul_(2)
        assert difference(old(x), doubled(x)) < 1e-4

        spectral, divided = copy.deepcopy(original), copy.deepcopy(original)
        parametrizations.spectral_norm(spectral.get_submodule(key), n_power_iterations=5).eval()
        divided.get_submodule(key).weight.data = spectral.get_submodule(key).weight.data
        assert difference(spectral(x), divided(x)) < 1e-4
        for model in (normed, old):
            with torch.no_grad():
                expected = model.eval()(x)
                assert difference(cotnet.fuse(model)(x), expected) < 1e-4


REPLACEMENTS = {
    "attention.norm": [nn.Identity(), nn.GroupNorm(1, 36), nn.BatchNorm2d(36), nn.GroupNorm(4, 36, affine=False)],
    "attention.reduce": [nn.Conv2d(64, 16, 1), nn.Sequential(nn.Conv2d(64, 16, 1, bias=False), nn.BatchNorm2d(16))],
    "attention.reduce.conv": [nn.Conv2d(64, 16, 1), nn.Conv2d(64, 16, 1, groups=2), nn.Conv2d(64, 16, 3, padding=1)],
    "attention.reduce.norm": [nn.Identity(), nn.GroupNorm(2, 16)],
    "attention.expand": [nn.Conv2d(16, 36, 1, bias=False), nn.Conv2d(16, 36, 3, padding=1)],
    "static_context": [nn.Conv2d(32, 32, 3, padding=1), nn.Identity(), nn.Sigmoid()],
    "static_context.conv": [nn.Conv2d(32, 32, 3, padding=1, padding_mode="reflect"), nn.Conv2d(32, 32, 1)],
    "static_context.norm": [nn.Identity(), nn.BatchNorm2d(32, affine=False), nn.Sigmoid()],
    "value": [nn.Identity(), nn.Conv2d(32, 32, 1)],
    "value.conv": [nn.Conv2d(32, 32, 1), nn.Conv2d(32, 32, 1, groups=4)],
    "dynamic_norm": [nn.Identity(), nn.BatchNorm2d(32, track_running_stats=False), nn.Tanh()],
    "fusion.reduce": [nn.Conv2d(32, 32, 1, groups=2), nn.Conv2d(32, 32, 1, bias=False)],
    "fusion.norm": [nn.Identity(), nn.BatchNorm2d(32)],
    "fusion.expand": [nn.Conv2d(32, 64, 1, bias=False), nn.Conv2d(32, 64, 1, groups=2)],
}


@pytest.mark.parametrize(("key", "index"), [(key, i) for key, group in REPLACEMENTS.items() for i in range(len(group))])
def test_a_replaced_part_is_called_and_never_dropped_by_fuse(key, index):
    torch.manual_seed(0)
    model, x = layer("cot", train=False), image("cot")
    replacement = copy.deepcopy(REPLACEMENTS[key][index]).eval()
    model.set_submodule(key, replacement)
    calls, fused = [], cotnet.fuse(model)
    with torch.no_grad():
        expected = model(x)
        assert difference(fused(x), expected) < 1e-5
    replacement.register_forward_hook(lambda *args: calls.append(1))
    answer(model.train(), x)
    assert calls == [1]
    if isinstance(fused, FusedCoT):
        assert isinstance(replacement, nn.BatchNorm2d | nn.Conv2d)
        assert fused.fuse_report.left == {}
    else:
        assert key in fused.fuse_report.left[""] or key.rpartition(".")[0] in fused.fuse_report.left[""]


def test_what_follows_a_part_does_not_overwrite_what_the_part_gave():
    model, x, kept = layer("cot", train=False), image("cot"), {}
    stored = torch.randn(4, 32, 6, 5)
    before = stored.clone()
    model.static_context.norm.register_forward_hook(lambda *args: stored)
    model.dynamic_norm.register_forward_hook(lambda module, args, out: kept.update(out=out, copy=out.clone()))
    model(x)
    assert torch.equal(stored, before)
    assert torch.equal(kept["out"], kept["copy"])


class Reads(nn.Module):
    """Reads a convolution's weight beside calling it, keeps its output, or has it called through a list."""

    def __init__(self, how):
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3), nn.ReLU()
        self.how, self.parts = how, [self.conv, self.norm]

    def forward(self, x):
        conv, norm = self.parts if self.how == "list" else (self.conv, self.norm)
        y = conv(x)
        if self.how == "keeps":
            self.features = {"y": [y]}
        z = self.last(norm(y))
        return z + nn.functional.conv2d(x, self.conv.weight) if self.how == "weight" else z

    def outcome(self, x):
        out = self(x)
        return torch.cat([out, self.features["y"][0]]) if self.how == "keeps" else out


@pytest.mark.parametrize("how", ["weight", "keeps", "list"])
def test_fuse_sees_who_else_reads_a_part(how):
    model, x = Reads(how), torch.randn(2, 3, 4, 4)
    model.train()(x + 1)
    model.eval()
    with torch.no_grad():
        expected = model.outcome(x)
        assert difference(cotnet.fuse(model).outcome(x), expected) < 1e-5


def test_hooks_do_not_run_while_a_network_is_fused():
    calls = []
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), nn.BatchNorm2d(4)).eval()
    model[0].register_forward_hook(lambda *args: calls.append(args))
    model.register_forward_pre_hook(lambda *args: calls.append(args))
    fused = cotnet.fuse(model)
    assert not calls
    assert fused.fuse_report.norms == ["0.1"]
    assert list(fused.fuse_report.left) == ["1"]
    assert "1 BatchNorms were folded" in str(fused.fuse_report)


class KeepsTraining(nn.Sequential):
    """Its norms normalise by the batch, in eval mode, too."""

    def train(self, mode=True):
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.training = True
        return self


@pytest.mark.parametrize("kind", ["layer", "convolution"])
def test_norms_that_stay_in_training_are_not_folded(kind):
    model = KeepsTraining(layer("cot", train=False) if kind == "layer" else nn.Conv2d(32, 32, 1), nn.BatchNorm2d(32))
    fused = cotnet.fuse(model.eval())
    assert not fused.fuse_report.layers
    assert not fused.fuse_report.norms
    with torch.no_grad():
        assert torch.equal(fused(image("cot")), copy.deepcopy(model)(image("cot")))


def test_convert_leaves_changed_convolutions():
    model = nn.Sequential(*[nn.Conv2d(8, 8, 3, padding=1) for _ in range(len(WAYS) + 1)])
    for module, way in zip(model, WAYS, strict=False):
        way(module)
    converted = cotnet.convert(model, "cot")
    assert list(converted.conversion.changed) == [str(len(WAYS))]
    assert len(converted.conversion.left) >= len(WAYS)


@pytest.mark.parametrize("name", ["cot", "coxt", "cot_dynamic", "involution"])
def test_lora_by_peft(name):
    peft = pytest.importorskip("peft", reason="peft is not installed")
    model, x = nn.Sequential(layer(name, train=False)), image(name)
    parts = {f"0.{key}": model.get_submodule(f"0.{key}") for place, key in PLACES if place == name}
    # peft merges no adapter into a convolution with groups.
    keys = [key for key, part in parts.items() if isinstance(part, nn.Conv2d) and part.groups == 1]
    config = peft.LoraConfig(r=4, target_modules=keys, init_lora_weights=False)
    adapted = peft.get_peft_model(model, config)
    out = adapted(x)
    out.square().sum().backward()
    adapters = {key: p for key, p in adapted.named_parameters() if "lora_" in key}
    assert len(adapters) == 2 * len(keys)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in adapters.values())
    with torch.no_grad():
        assert difference(cotnet.fuse(adapted.base_model.model)(x), out) < 1e-4
    merged = adapted.merge_and_unload()
    assert difference(merged(x), out) < 1e-4


COT_PLACES = [key for name, key in PLACES if name == "cot"]
CHANGES = st.dictionaries(st.sampled_from(COT_PLACES), st.sampled_from(WAYS), max_size=4)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CHANGES, st.booleans())
def test_any_changes_together(changes, train):
    changed, x = layer("cot", train=train), image("cot")
    expected = copy.deepcopy(changed)
    for key, way in changes.items():
        way(changed.get_submodule(key))
        by_weight(expected.get_submodule(key))
        assert not is_plain_module(changed.get_submodule(key), *KINDS)
    assert difference(changed(x), expected(x)) < 1e-3
    if not train:
        fused = cotnet.fuse(changed)
        assert isinstance(fused, FusedCoT) == (not changes)
        with torch.no_grad():
            assert difference(fused(x), expected(x)) < 1e-4
