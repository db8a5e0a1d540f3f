"""torch.fx over every layer and network, and feature extraction by torchvision and timm."""

import copy
import pickle

import pytest
import timm
import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

import cotnet
from tests.ecosystem.family import NETWORKS, PARTS, difference, image, part


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", PARTS)
def test_symbolic_trace(name, train):
    model, x = part(name, train=train), image(name)
    before = copy.deepcopy(model)
    traced = torch.fx.symbolic_trace(model)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in before.state_dict().items())
    # A network in training amplifies roundings by the statistics of its small batch.
    assert difference(traced(x), before(x)) < (1e-3 if train and name in NETWORKS else 1e-5)
    for key, value in before.state_dict().items():  # running statistics and their counters
        torch.testing.assert_close(traced.state_dict()[key], value, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["cot", "se_conv", "basic"])
def test_a_trace_keeps_the_modules_and_goes_through_pickle(name):
    model, x = part(name), image(name)
    traced = torch.fx.symbolic_trace(model)
    called = {node.target for node in traced.graph.nodes if node.op == "call_module"}
    convolutions = {key for key, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    assert convolutions <= called
    again = pickle.loads(pickle.dumps(traced))
    assert torch.equal(again(x), traced(x))


@pytest.mark.parametrize("name", ["cot", "coxt", "basic", "cotnext", "hybrid"])
def test_a_trace_of_a_fused_network(name):
    fused, x = cotnet.fuse(part(name)), image(name)
    traced = torch.fx.symbolic_trace(fused)
    with torch.no_grad():
        assert difference(traced(x), fused(x)) < 1e-5
    with pytest.raises(RuntimeError, match="no gradients"):
        torch.fx.symbolic_trace(cotnet.fuse(part("cot")))(image("cot").requires_grad_())


@pytest.mark.parametrize("name", NETWORKS)
def test_torchvision_extracts_features(name):
    model, x = part(name), image(name)
    extractor = create_feature_extractor(model, {"layer2": "second", "layer1.0.mixer": "mixed"})
    expected = {}
    model.layer2.register_forward_hook(lambda module, args, out: expected.update(second=out))
    model.layer1[0].mixer.register_forward_hook(lambda module, args, out: expected.update(mixed=out))
    model(x)
    features = extractor(x)
    assert features.keys() == expected.keys()
    for key, value in expected.items():
        assert difference(features[key], value) < 1e-5


@pytest.mark.parametrize("name", ["cotnet8_nano", "cotnet20_nano"])
def test_timm_extracts_features_by_fx(name):
    torch.manual_seed(0)
    extractor = timm.create_model(name, features_only=True, feature_cls="fx").eval()
    torch.manual_seed(0)
    ordinary = timm.create_model(name, features_only=True).eval()
    x = image("basic")
    for actual, expected in zip(extractor(x), ordinary(x), strict=True):
        assert difference(actual, expected) < 1e-5
