"""A fused network: no training, derivatives where it has them, its state, types and compilation."""

import copy
import pickle

import pytest
import timm
import torch
import torchvision
from torch import nn

import cotnet
from cotnet.fusing.winograd import WinogradConv
from tests.fusing.settled import answers, error, settle


@pytest.mark.parametrize(
    "model",
    [
        *(cotnet.CoTLayer(16), torchvision.models.resnet18()),
        nn.Sequential(nn.Dropout(), nn.Conv2d(3, 16, 1), cotnet.CoTLayer(16)),
        timm.create_model("vit_tiny_patch16_224", depth=1),
    ],
    ids=["layer", "norms", "dropout", "neither layers nor norms"],
)
def test_training_is_refused(model):
    fused = cotnet.fuse(model)
    for network in (fused, copy.deepcopy(fused), pickle.loads(pickle.dumps(fused)), cotnet.fuse(fused)):
        for whole in (network, nn.Sequential(network)):
            with pytest.raises(RuntimeError, match="serves inference only"):
                whole.train()
            assert not any(m.training for m in network.modules())
            assert whole.eval() is whole
    assert not any(p.requires_grad for p in fused.parameters())
    model.train()


def test_gradients_are_refused():
    fused = cotnet.fuse(cotnet.CoTLayer(16))
    with pytest.raises(RuntimeError, match="no gradients"):
        fused(torch.randn(1, 16, 4, 4, requires_grad=True))
    x = torch.randn(1, 16, 4, 4)
    with pytest.raises(RuntimeError, match="no transforms"):
        torch.func.jvp(fused, (x,), (x,))


def test_a_winograd_convolution_has_derivatives_in_forward_mode():
    conv = nn.Conv2d(64, 64, 3, padding=1)
    fast = WinogradConv(conv)
    x = torch.randn(2, 64, 28, 28)
    assert fast.gains(x)
    torch.testing.assert_close(torch.func.jvp(fast, (x,), (x,)), torch.func.jvp(conv, (x,), (x,)))


def test_a_network_without_such_layers_passes_gradients_to_its_input():
    model = settle(torchvision.models.resnet18())
    fused = cotnet.fuse(model)
    assert any(isinstance(m, WinogradConv) for m in fused.modules())
    x = torch.randn(2, 3, 64, 64)
    gradients = [torch.autograd.grad(m(leaf := x.clone().requires_grad_()).sum(), leaf)[0] for m in (model, fused)]
    assert error(gradients[1], gradients[0]) < 1e-4


def test_state_dict_goes_round():
    first, second = (cotnet.fuse(settle(timm.create_model("cotnet8_nano"))) for _ in range(2))
    for parameter in second.parameters():
        nn.init.zeros_(parameter)
    second.load_state_dict(first.state_dict())
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(answers(first, x), answers(second, x))
    assert torch.equal(answers(pickle.loads(pickle.dumps(first)), x), answers(first, x))
    assert torch.equal(answers(copy.deepcopy(first), x), answers(first, x))


def test_autocast_and_bfloat16():
    model, x = settle(timm.create_model("cotnet20_nano")), torch.randn(4, 3, 64, 64)
    expected, fused = answers(model, x), cotnet.fuse(model)
    with torch.autocast("cpu", torch.bfloat16):
        assert error(answers(fused, x).float(), expected) < 2 * error(answers(model, x).float(), expected)
    plain = error(answers(copy.deepcopy(model).bfloat16(), x.bfloat16()).float(), expected)
    assert error(answers(fused.bfloat16(), x.bfloat16()).float(), expected) < 2 * plain


def test_compiles_to_one_graph_and_exports_in_standard_operators():
    fused, x = cotnet.fuse(settle(timm.create_model("cotnet8_nano"), 32)), torch.randn(2, 3, 32, 32)
    expected = answers(fused, x)
    with torch._inductor.config.patch(freezing=True):
        assert error(answers(torch.compile(fused, fullgraph=True), x), expected) < 1e-5
    program = torch.export.export(fused, (x,))
    assert not [node for node in program.graph.nodes if "cotnet" in str(node.target)]
    assert error(answers(program.module(), x), expected) < 1e-5


def wide_layer():
    return settle(nn.Sequential(nn.Conv2d(3, 192, 1), cotnet.CoTLayer(192)), 9)


def test_a_network_made_without_data_is_filled_by_assignment():
    fused, x = cotnet.fuse(wide_layer()), torch.randn(2, 3, 14, 14)
    with torch.device("meta"):
        empty = cotnet.fuse(nn.Sequential(nn.Conv2d(3, 192, 1), cotnet.CoTLayer(192)))
    assert isinstance(empty[1].static_context, WinogradConv)
    assert empty(x.to("meta")).shape == (2, 192, 14, 14)
    empty.load_state_dict(fused.state_dict(), assign=True)
    assert torch.equal(answers(empty, x), answers(fused, x))


def test_to_bfloat16_and_back_is_a_rounding_of_the_parameters_alone():
    model, x = wide_layer(), torch.randn(2, 3, 14, 14)
    fused, loaded = cotnet.fuse(model).bfloat16().float(), cotnet.fuse(model)
    loaded.load_state_dict(fused.state_dict())
    assert torch.equal(answers(fused, x), answers(loaded, x))
