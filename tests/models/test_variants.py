"""Any mixer in any stage, and what it costs."""

import pytest
import timm
import torch

from cotnet.layers.mixers import MIXERS
from cotnet.models import BODIES, count_macs, count_parameters
from cotnet.models.variants import vary


def meta(name, **options):
    with torch.device("meta"):
        return timm.create_model(name, **options)


# Mixers, parameters, GMACs of the paper's tables on stage replacement and on the contexts.
PAPER = [
    ("conv", 25_557_032, "4.12"),
    ("res2-4=conv", 23_461_736, "3.96"),
    ("res2-3=conv", 22_423_208, "3.65"),
    ("res2=conv", 22_253_160, "3.44"),
    (None, 22_222_416, "3.29"),
    ("cot_static", 17_069_096, None),
    ("cot_dynamic", 20_322_992, None),
    ("cot_linear", 20_322_992, None),
]


@pytest.mark.parametrize(("mixers", "parameters", "gmacs"), PAPER)
def test_equals_the_papers_table(mixers, parameters, gmacs):
    model = meta("cotnet50", mixers=mixers)
    assert count_parameters(model) == parameters
    assert gmacs is None or f"{count_macs(model, 224) / 1e9:.2f}" == gmacs


@pytest.mark.parametrize(
    ("name", "size", "gmacs"),
    [
        ("cotnet101", 224, "6.12"),
        ("se_cotnetd_50", 224, "4.09"),
        ("se_cotnetd_101", 224, "8.50"),
        ("se_cotnetd_152", 256, "16.96"),
        ("se_cotnetd_152_L", 320, "26.50"),
    ],
)
def test_macs_of_the_family(name, size, gmacs):
    assert f"{count_macs(meta(name), size) / 1e9:.2f}" == gmacs


def test_counting_leaves_the_model_as_it_was():
    model = timm.create_model("cotnet_nano").train()
    model.layer1.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count_macs(model, (32, 48))
    assert model.training
    assert not model.layer1.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_without_cot_it_is_resnet():
    assert count_parameters(meta("cotnet18", mixers="conv")) == count_parameters(meta("resnet18"))
    ours, theirs = timm.create_model("cotnet18", mixers="conv").eval(), timm.create_model("resnet18").eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("name", ["cotnet50", "se_cotnetd_152", "cotnet18"])
def test_every_mixer_fits_every_stage(name, mixer):
    model = meta(name, mixers=mixer, features_only=True, output_stride=16)
    maps = model(torch.empty(2, 3, 64, 64, device="meta"))
    assert [64 // m.shape[-1] for m in maps][-1] == 16


@pytest.mark.parametrize("mixer", MIXERS)
def test_a_step_reaches_every_parameter(mixer):
    model = timm.create_model("cotnet_nano", mixers=mixer, num_classes=3)
    model(torch.randn(2, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_forms_of_the_same_choice():
    body = BODIES["se_cotnetd_50"]
    one = vary(body, mixers={"res4": ["cot", "se_conv"], "res5": "mhsa", "res2-3": "conv"})
    assert one == vary(body, mixers="res4=cot+se_conv, res5=mhsa,res2-res3=conv")
    assert [stage.mixers for stage in one.stages] == [("conv",), ("conv",), ("cot", "se_conv"), ("mhsa",)]
    assert vary(body) == body


def test_window_and_width():
    model = meta("cotnet50", kernel_size=5, base_width=48)
    layer = model.layer1[0].mixer
    assert layer.static_context.conv.weight.shape[0] == 48
    assert layer.kernel_size == 5
    share = count_macs(meta("cotnet50", kernel_size=5), 224) / count_macs(meta("cotnet50"), 224)
    assert share == pytest.approx(1.32, abs=0.01)  # the paper: +32 %


def test_a_strided_stem():
    model = meta("cotnet20_nano", stem_stride=2, features_only=True)
    assert model.feature_info.reduction() == [2, 2, 4, 8]
    assert [64 // m.shape[-1] for m in model(torch.empty(2, 3, 64, 64, device="meta"))] == [2, 2, 4, 8]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixers": "cott"}, r"unknown mixer 'cott'; did you mean 'cot'\? Known mixers: conv, .*involution"),
        ({"mixers": {"res6": "cot"}}, r"unknown stage 'res6'.*This body has res2, res3, res4, res5"),
        ({"mixers": {"layer4": "cot"}}, r"unknown stage 'layer4'.*res2, res3, res4, res5"),
        ({"mixers": "res4-3=cot"}, "unknown stage 'res4-3'"),
        ({"mixers": "res4=cot,res3-5=conv"}, "res4 is given two mixers"),
        ({"mixers": "res4="}, "expected STAGE=MIXER"),
        ({"mixers": {"res4": []}}, "at least one mixer for res4"),
        ({"mixers": ["cot"]}, "expected mixers by stage such as"),
        ({"mixers": {"res4": 5}}, "at least one mixer for res4, got 5"),
        ({"mixers": {4: "cot"}}, "unknown stage '4'"),
        ({"mixers": {"res4": [5]}}, "unknown mixer 5. Known mixers: conv"),
        ({"base_width": 50}, "divisible by 8, got dim=50"),
        ({"base_width": 0}, "base_width of at least 1"),
        ({"kernel_size": 4}, "odd kernel_size"),
        ({"stem_stride": 3}, "stem_stride of 1 or 2"),
    ],
)
def test_wrong_choices_say_what_there_is(options, message):
    with pytest.raises(ValueError, match=message):
        meta("cotnet50", **options)


def test_a_basic_block_has_no_base_width():
    with pytest.raises(ValueError, match="bottleneck"):
        meta("cotnet18", base_width=32)


def test_planes_set_the_width_of_every_stage():
    model = meta("cotnet8_nano", num_classes=10, planes=(64, 112, 232), mixers="conv")
    assert [info["num_chs"] for info in model.feature_info] == [16, 64, 112, 232]
    with pytest.raises(ValueError, match="expected 3 planes of at least 1, one for each stage"):
        meta("cotnet8_nano", planes=(64, 112))


def test_depths_set_the_number_of_blocks_of_every_stage():
    model = meta("cotnet_nano", num_classes=10, depths=(1, 2, 1), mixers="res2=conv")
    assert [len(stage) for stage in model.stages()] == [1, 2, 1]
    with pytest.raises(ValueError, match="expected 3 depths of at least 1, one for each stage"):
        meta("cotnet_nano", depths=(1, 0, 1))
