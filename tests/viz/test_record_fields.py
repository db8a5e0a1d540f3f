"""Fields are the layers' own weights, and recording leaves a network as it was."""

import pytest
import timm
import torch
import torchvision

import cotnet
from cotnet.ops.local_aggregation import local_aggregation
from cotnet.viz import cot_layers, record_fields


def inputs_of(layer):
    """Where the layer's input will be put in a forward pass."""
    seen = []
    layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    return seen


@pytest.mark.parametrize(("name", "groups"), [("cotnet_nano", 1), ("cotnext50_2x48d", 2)])
@torch.no_grad()
def test_a_field_is_what_the_layer_filters_with(name, groups):
    network = timm.create_model(name, num_classes=3).eval()
    layer = network.layer2[1].mixer
    seen = inputs_of(layer)
    field = next(f for f in record_fields(network, torch.randn(2, 3, 32, 48)) if f.layer == "layer2.1.mixer")
    x, taps = seen[0], field.weight
    dynamic = local_aggregation(layer.value(x), taps, 3, groups=groups)
    dynamic = torch.nn.functional.silu(layer.dynamic_norm(dynamic))
    static = layer.static_context(x).relu()
    share = field.dynamic_share[:, :, None, None]
    torch.testing.assert_close(share * dynamic + (1 - share) * static, layer(x), rtol=1e-4, atol=1e-5)
    assert (field.stage, field.groups, field.channels, field.kernel_size) == ("res3", groups, x.shape[1], 3)


def test_channels_of_a_head_are_those_that_its_weights_reach():
    for name, groups in (("cotnet_nano", 1), ("cotnext50_2x48d", 2)):
        network = timm.create_model(name, num_classes=3)
        field = record_fields(network, torch.randn(1, 3, 32, 32))[-1]
        weight = torch.zeros_like(field.weight)
        weight[:, field.heads - 1] = 1
        value = torch.ones(1, field.channels, *weight.shape[3:])
        reached = local_aggregation(value, weight, 3, groups=groups)[0].amax((1, 2)).nonzero().flatten().tolist()
        assert field.channels_of(field.heads - 1) == reached


@pytest.mark.parametrize("training", [True, False])
def test_recording_leaves_the_network_as_it_was(training):
    network = timm.create_model("cotnet_nano").train(training)
    network.layer1.train(not training)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    modes = [part.training for part in network.modules()]
    record_fields(network, torch.randn(2, 3, 16, 16))
    assert modes == [part.training for part in network.modules()]
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(part._forward_hooks for part in network.modules())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


def test_an_input_that_does_not_fit_leaves_no_hooks():
    network = timm.create_model("cotnet_nano")
    with pytest.raises(ValueError, match=r"does not accept images of shape \(1, 4, 16, 16\)"):
        record_fields(network, torch.randn(1, 4, 16, 16))
    assert not any(part._forward_hooks for part in network.modules())


def test_layers_of_a_hybrid_and_of_a_converted_network():
    assert list(cot_layers(timm.create_model("se_cotnetd_50"))) == [
        *(f"layer3.{i}.mixer" for i in (0, 2, 4)),
        *(f"layer4.{i}.mixer" for i in range(3)),
    ]
    foreign = cotnet.convert(torchvision.models.regnet_y_400mf(), where="res5")
    fields = record_fields(foreign, torch.randn(1, 3, 64, 64))
    swapped = list(foreign.conversion.changed)
    assert len(fields) == len(swapped) > 3
    assert all(f.layer.startswith(name) for f, name in zip(fields, swapped, strict=True))
    assert {f.stage for f in fields} == {"res5"}
    assert cot_layers(torchvision.models.resnet18()) == {}


@pytest.mark.parametrize(("mixer", "fields", "shares"), [("cot_static", 0, 0), ("cot_dynamic", 7, 0), ("cot", 7, 7)])
def test_the_ablations(mixer, fields, shares):
    found = record_fields(timm.create_model("cotnet_nano", mixers=mixer), torch.randn(1, 3, 16, 16))
    assert len(found) == fields
    assert sum(f.dynamic_share is not None for f in found) == shares


def test_window_and_dilation():
    fields = record_fields(timm.create_model("cotnet50", kernel_size=5, output_stride=8), torch.randn(1, 3, 64, 64))
    assert {f.kernel_size for f in fields} == {5}
    assert [f.dilation for f in fields if f.stage == "res5"] == [2, 4, 4]
    assert fields[0].weight.shape[2] == 25
