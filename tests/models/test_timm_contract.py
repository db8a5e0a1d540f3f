"""timm's model contract over every registered name; the deep ones, alike in kind, where it is cheap."""

import pytest
import timm
import torch

import cotnet  # noqa: F401  (registers the family)
from cotnet.models import BODIES

SMALL = ["cotnet_nano", "cotnet18", "cotnet50", "cotnext50_2x48d", "se_cotnetd_50"]
# One of each kind of block and down-sampling, cheap enough for the compiler.
KINDS = ["cotnet_nano", "cotnext50_2x48d", "se_cotnetd_152"]


@pytest.mark.parametrize("name", BODIES)
def test_forward_and_backward_reach_every_parameter(name):
    model = timm.create_model(name, num_classes=3, drop_path_rate=0.0).train()
    size = 32 if "nano" in name else 64
    model(torch.randn(2, 3, size, size)).square().sum().backward()
    # A block starts as its shortcut, so what lies before its last BatchNorm has a gradient of zero, but has one.
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", BODIES)
def test_features_only_and_input_channels(name):
    with torch.device("meta"):
        features = timm.create_model(name, features_only=True, in_chans=1).eval()
        maps = features(torch.empty(1, 1, 97, 131))
    info = features.feature_info
    assert [m.shape[1] for m in maps] == info.channels()
    expected = [(-(-97 // r), -(-131 // r)) for r in info.reduction()]
    assert [tuple(m.shape[2:]) for m in maps] == expected
    assert info.reduction()[-1] == {"cotnet8_nano": 8}.get(name, 4 if "nano" in name else 32)


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_output_stride(name, output_stride):
    with torch.device("meta"):
        features = timm.create_model(name, features_only=True, output_stride=output_stride)
        maps = features(torch.empty(2, 3, 64, 64))
    own = {"cotnet_nano": 4, "cotnet20_nano": 4, "cotnet8_nano": 8}
    assert 64 // maps[-1].shape[-1] == min(output_stride, own.get(name, 32))
    if name == "cotnet50" and output_stride == 8:
        assert [block.mixer.dilation for block in features.layer4] == [2, 4, 4]


def test_refuses_other_output_strides():
    with pytest.raises(ValueError, match="output_stride=4"):
        timm.create_model("cotnet18", output_stride=4)


@pytest.mark.parametrize("name", SMALL)
def test_classifier_resets(name):
    model = timm.create_model(name).eval()
    x = torch.randn(1, 3, 33, 47)
    assert model.get_classifier() is model.fc
    model.reset_classifier(7)
    assert model(x).shape == (1, 7)
    model.reset_classifier(0)
    assert model(x).shape == (1, model.num_features)
    assert model.forward_head(model.forward_features(x), pre_logits=True).shape == (1, model.head_hidden_size)
    model.reset_classifier(0, "")
    assert model(x).shape == model.forward_features(x).shape


def test_global_pool_other_than_the_mean():
    model = timm.create_model("cotnet_nano", global_pool="catavgmax", num_classes=5)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 5)


def test_intermediates():
    model = timm.create_model("cotnet_nano").eval()
    x = torch.randn(1, 3, 32, 32)
    last, maps = model.forward_intermediates(x)
    assert torch.equal(last, maps[-1])
    assert torch.equal(last, model.forward_features(x))
    early = model.forward_intermediates(x, indices=[0, 2], stop_early=True, intermediates_only=True)
    assert all(torch.equal(a, maps[i]) for a, i in zip(early, (0, 2), strict=True))
    model.prune_intermediate_layers([1])
    assert torch.equal(model.forward_intermediates(x, [1], intermediates_only=True)[0], maps[1])
    with pytest.raises(ValueError, match="NLC"):
        model.forward_intermediates(x, output_fmt="NLC")


def test_gradient_checkpointing_changes_nothing():
    torch.manual_seed(0)
    model = timm.create_model("cotnet_nano").train()
    x = torch.randn(2, 3, 32, 32)
    plain = torch.autograd.grad(model(x).sum(), model.fc.weight)
    model.set_grad_checkpointing()
    torch.testing.assert_close(torch.autograd.grad(model(x).sum(), model.fc.weight), plain)


def test_stochastic_depth_grows_linearly():
    model = timm.create_model("cotnet18", drop_path_rate=0.7)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for stage in model.stages() for block in stage]
    assert rates == pytest.approx([0.1 * i for i in range(8)])


def test_dropout_before_the_classifier():
    model = timm.create_model("cotnet_nano", drop_rate=0.5).train()
    x = torch.ones(1, model.num_features, 4, 4)
    assert 0.3 < (model.forward_head(x, pre_logits=True) == 0).float().mean() < 0.7
    assert (model.eval().forward_head(x, pre_logits=True) == 1).all()


def test_group_matcher_sorts_every_parameter_by_depth():
    model = timm.create_model("cotnet18")
    groups = timm.models.group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    assert set(groups) == {name for name, _ in model.named_parameters()}
    assert groups["conv1.weight"] < groups["layer1.0.conv1.weight"] < groups["layer4.1.bn2.bias"]


@pytest.mark.parametrize("name", KINDS)
def test_compiles_without_a_graph_break(name):
    torch._dynamo.reset()
    model = timm.create_model(name, num_classes=3).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="aot_eager")(x), model(x))


@pytest.mark.parametrize("name", KINDS)
def test_exports_for_every_size(name):
    model = timm.create_model(name, num_classes=3).eval()
    shapes = ({0: torch.export.Dim("batch"), 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO},)
    program = torch.export.export(model, (torch.randn(2, 3, 64, 96),), dynamic_shapes=shapes).module()
    x = torch.randn(3, 3, 96, 64)
    with torch.no_grad():
        torch.testing.assert_close(program(x), model(x), rtol=1e-4, atol=1e-4)


def test_channels_last_and_bfloat16():
    model = timm.create_model("cotnet_nano", num_classes=3).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        last = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
        torch.testing.assert_close(last, model(x), rtol=1e-4, atol=1e-5)
        assert model.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
