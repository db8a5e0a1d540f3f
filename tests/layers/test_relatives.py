"""The relatives of CoT against plain transcriptions of their definitions, in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from timm.layers.bottleneck_attn import BottleneckAttn

from cotnet import CoTLayer
from cotnet.layers.bsconv import BSConv
from cotnet.layers.cot_ablations import CoTDynamic, CoTLinear, CoTStatic
from cotnet.layers.drconv import DRConv
from cotnet.layers.involution import Involution
from cotnet.layers.local_attention import LocalAttention
from cotnet.layers.mhsa import GlobalAttention
from cotnet.layers.mixers import MIXERS, create_mixer

TIGHT = {"rtol": 1e-12, "atol": 1e-12}


def window(x, n, i, j, k, dilation):
    """Tap number and the vector x[n, :, cell], zero outside the image, for each cell around (i, j)."""
    for u in range(k):
        for v in range(k):
            row, column = i + dilation * (u - k // 2), j + dilation * (v - k // 2)
            inside = 0 <= row < x.shape[2] and 0 <= column < x.shape[3]
            yield u * k + v, x[n, :, row, column] if inside else torch.zeros_like(x[n, :, 0, 0])


def local_attention_by_loops(layer, x):
    """Section 3.1 of the paper, equation by equation."""
    q, k, v = (torch.einsum("oc,nchw->nohw", m.weight[:, :, 0, 0], x) for m in (layer.query, layer.key, layer.value))
    size, y = x.shape[1] // layer.heads, torch.zeros_like(x)
    for n in range(x.shape[0]):
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                for head in range(layer.heads):
                    own = slice(head * size, (head + 1) * size)
                    cells = dict(window(k, n, i, j, layer.kernel_size, layer.dilation))
                    relation = [cells[t][own] @ q[n, own, i, j] for t in cells]
                    relation = [r + layer.position[t] @ q[n, own, i, j] for t, r in enumerate(relation)]
                    total = sum(math.exp(r) for r in relation)
                    for t, cell in window(v, n, i, j, layer.kernel_size, layer.dilation):
                        y[n, own, i, j] += math.exp(relation[t]) / total * cell[own]
    return y


@pytest.mark.parametrize(("kernel_size", "dilation", "heads"), [(3, 1, 2), (5, 1, 4), (3, 2, 8)])
@torch.no_grad()
def test_local_attention_equals_the_four_equations(kernel_size, dilation, heads):
    layer = LocalAttention(8, kernel_size, dilation=dilation, heads=heads).double()
    x = torch.randn(2, 8, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x), local_attention_by_loops(layer, x), **TIGHT)
    # The transcription can fail: heads that interleave, or no positions, are another answer.
    layer.position.zero_()
    y = layer(x)
    layer.position.normal_()
    assert not torch.allclose(layer(x), y, atol=1e-3)


@pytest.mark.parametrize("size", [(7, 7), (5, 9), (1, 3)])
@torch.no_grad()
def test_mhsa_equals_timms_attention(size):
    theirs = BottleneckAttn(32, feat_size=size, num_heads=4).double()
    ours = GlobalAttention(32, heads=4, reach=10).double()
    ours.query_key_value.weight.copy_(theirs.qkv.weight)
    for position, wanted, side in (
        (ours.row_position, theirs.pos_embed.height_rel, size[0]),
        (ours.column_position, theirs.pos_embed.width_rel, size[1]),
    ):
        position[10 - side : 10 + side - 1].copy_(wanted)
    x = torch.randn(2, 32, *size, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), **TIGHT)
    assert not torch.allclose(ours(x), theirs(x.flip(3)).flip(3), atol=1e-3)


@torch.no_grad()
def test_mhsa_shares_the_positions_beyond_its_reach():
    near, far = GlobalAttention(16, heads=2, reach=2).double(), GlobalAttention(16, heads=2, reach=8).double()
    far.query_key_value.weight.copy_(near.query_key_value.weight)
    for ours, theirs in ((near.row_position, far.row_position), (near.column_position, far.column_position)):
        theirs.copy_(ours[[0] * 7 + [1] + [2] * 7])
    x = torch.randn(1, 16, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(near(x), far(x), **TIGHT)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
@torch.no_grad()
def test_bsconv_equals_loops(stride, dilation):
    layer = BSConv(6, stride=stride, dilation=dilation).double()
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64)
    mixed = torch.einsum("oc,nchw->nohw", layer.pointwise.weight[:, :, 0, 0], x)
    y = layer(x)
    for n in range(2):
        for i in range(y.shape[2]):
            for j in range(y.shape[3]):
                kernel = layer.blueprint.weight[:, 0].flatten(1)
                cells = window(mixed, n, i * stride, j * stride, 3, dilation)
                torch.testing.assert_close(y[n, :, i, j], sum(kernel[:, t] * cell for t, cell in cells), **TIGHT)


@pytest.mark.parametrize("dilation", [1, 2])
@torch.no_grad()
def test_drconv_equals_loops(dilation):
    layer = DRConv(4, dilation=dilation, regions=3).double()
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    y, chosen = layer(x), set()
    for n in range(2):
        pooled = F.adaptive_avg_pool2d(x[n], 3)
        gates = torch.sigmoid(torch.einsum("gc,cuv->guv", layer.squeeze.weight[:, :, 0, 0], pooled))
        for i in range(5):
            for j in range(6):
                guide = sum(
                    layer.guide.weight.flatten(2)[:, :, t] @ cell for t, cell in window(x, n, i, j, 3, dilation)
                )
                region = max(range(3), key=guide.tolist().__getitem__)
                chosen.add(region)
                made = layer.generate.weight[:, :, 0, 0].view(3, 4, 4, 3)[region]
                bank = torch.einsum("oig,guv->oiuv", made, gates[3 * region : 3 * region + 3]).flatten(2)
                wanted = sum(bank[:, :, t] @ cell for t, cell in window(x, n, i, j, 3, dilation))
                torch.testing.assert_close(y[n, :, i, j], wanted, **TIGHT)
    assert len(chosen) > 1


def test_drconv_passes_the_softmax_gradient_through_the_hard_choice():
    layer = DRConv(4, regions=3).double()
    x, weight = torch.randn(2, 2, 4, 5, 5, dtype=torch.float64)
    (hard,) = torch.autograd.grad((layer(x) * weight).sum(), layer.guide.weight)
    assert set(layer.choice(x).detach().unique().tolist()) == {0.0, 1.0}
    with torch.no_grad():
        filters = layer.filters(x)
        every = torch.stack(
            [torch.stack([F.conv2d(x[n], filters[n, m], padding=1) for m in range(3)]) for n in range(2)]
        )
    soft = (every * layer.guide(x).softmax(1)[:, :, None]).sum(1)
    (wanted,) = torch.autograd.grad((soft * weight).sum(), layer.guide.weight)
    torch.testing.assert_close(hard, wanted, **TIGHT)
    assert hard.abs().max() > 1e-3


@torch.no_grad()
def test_involution_equals_loops():
    layer = Involution(32, 3).double().eval()
    x = torch.randn(1, 32, 4, 3, dtype=torch.float64)
    kernel, y = layer.span(F.relu(layer.reduce(x))), layer(x)
    for i in range(4):
        for j in range(3):
            for c in range(32):
                cells = window(x, 0, i, j, 3, 1)
                wanted = sum(kernel[0, (c // 16) * 9 + t, i, j] * cell[c] for t, cell in cells)
                torch.testing.assert_close(y[0, c, i, j], wanted, **TIGHT)


@torch.no_grad()
def test_the_ablations_are_parts_of_cot():
    whole = CoTLayer(32).double().eval()
    parts = {kind: kind(32).double().eval() for kind in (CoTStatic, CoTDynamic, CoTLinear)}
    for part in parts.values():
        assert set(part.state_dict()) < set(whole.state_dict())
        part.load_state_dict({name: whole.state_dict()[name] for name in part.state_dict()})
    x = torch.randn(2, 32, 5, 6, dtype=torch.float64)
    static, dynamic, linear = (part(x) for part in parts.values())
    torch.testing.assert_close(linear, dynamic + static, **TIGHT)
    torch.testing.assert_close(whole(x), whole.fusion(dynamic, static), **TIGHT)


@pytest.mark.parametrize("name", [name for name in MIXERS if name != "drconv"])
def test_gradients_in_float64(name):
    torch.manual_seed(1)
    layer = create_mixer(name, 16).double()
    x = torch.randn(2, 16, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()), fast_mode=True, atol=1e-6)


def test_gradients_of_drconv_besides_its_guide():
    layer = DRConv(4).double()
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    made = (layer.squeeze.weight, layer.generate.weight)
    assert torch.autograd.gradcheck(lambda *_: layer(x), made, fast_mode=True)


@pytest.mark.parametrize("name", [name for name in MIXERS if name not in ("cot", "coxt", "conv")])
def test_compiles_and_exports_for_every_size(name):
    torch._dynamo.reset()
    layer = create_mixer(name, 32).eval()
    x, other = torch.randn(2, 32, 6, 7), torch.randn(3, 32, 9, 5)
    with torch.no_grad():
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), layer(x))
        sizes = ({i: torch.export.Dim.AUTO for i in (0, 2, 3)},)
        program = torch.export.export(layer, (x,), dynamic_shapes=sizes).module()
        torch.testing.assert_close(program(other), layer(other), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "dim", "message"),
    [
        ("local_attention", 20, "divisible by 8, got dim=20; the nearest are 16 or 24"),
        ("mhsa", 6, "divisible by 4, got dim=6; the nearest are 4 or 8"),
        ("involution", 24, "divisible by 16, got dim=24"),
        ("cot_static", 12, "CoTStatic needs a dim divisible by 8, got dim=12"),
        ("cot_linear", 12, "CoTLinear needs a dim divisible by 8, got dim=12"),
    ],
)
def test_widths_that_do_not_divide(name, dim, message):
    with pytest.raises(ValueError, match=message):
        create_mixer(name, dim)
