"""The released family: parameter counts, entries, and the published computation."""

import pytest
import timm
import torch

import cotnet
from cotnet.models import BODIES

PARAMETERS = {
    "cotnet50": 22_222_416,
    "cotnext50_2x48d": 30_046_276,
    "cotnet101": 38_272_048,
    "cotnext101_2x48d": 53_346_068,
    "se_cotnetd_50": 23_107_784,
    "se_cotnetd_101": 40_912_392,
    "se_cotnetd_152": 55_783_688,
    "se_cotnetd_152_L": 55_783_688,
    "se_cotnetd_200": 60_399_368,
    "se_cotnetd_270": 83_380_648,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_and_entries(name, official_entries):
    with torch.device("meta"):
        model = timm.create_model(name)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    ours = cotnet.to_official(model.state_dict())
    assert list({k: list(v.shape) for k, v in ours.items()}.items()) == list(official_entries[name].items())
    assert cotnet.from_official(ours).keys() == model.state_dict().keys()


@pytest.mark.parametrize("name", PARAMETERS)
def test_official_entries_load_strictly_and_come_back_unchanged(name, official_entries):
    # Each entry holds a number of its own, in the memory of one.
    entries = {k: torch.tensor(float(i)).expand(v) for i, (k, v) in enumerate(official_entries[name].items())}
    with torch.device("meta"):
        model = timm.create_model(name)
    model.load_state_dict(cotnet.from_official(entries), strict=True, assign=True)
    back = cotnet.to_official(model.state_dict())
    assert list(back) == list(entries)
    assert all(back[k].shape == v.shape and back[k].flatten()[0] == v.flatten()[0] for k, v in entries.items())


def models_case(name, model_parity, official_entries, parity_weights, change=None):
    """The largest error, relative to the largest expected value, in logits and stage maps."""
    case = model_parity.cases[name]
    model = timm.create_model(case["model"]).eval()
    entries = official_entries[case["model"]]
    fill = parity_weights.fill
    model.load_state_dict(cotnet.from_official({k: torch.from_numpy(fill(k, tuple(v))) for k, v in entries.items()}))
    if change:
        change(model)
    size = case["size"] if isinstance(case["size"], int) else tuple(case["size"])
    with torch.no_grad():
        last, maps = model.forward_intermediates(
            torch.from_numpy(parity_weights.image(case["batch"], size, case["seed"]))
        )
        actual = {"logits": model.forward_head(last)}
    for number, stage in enumerate(maps[1:], 1):
        actual |= {
            f"layer{number}.shape": torch.tensor(stage.shape),
            f"layer{number}.channel_mean": stage.mean((2, 3)),
            f"layer{number}.corner": stage[:, :8, :3, :3],
        }
    expected = model_parity.tensors(name)
    assert expected.keys() == actual.keys()
    errors = [((actual[k] - v).abs().max() / v.abs().max()).item() for k, v in expected.items()]
    return torch.tensor(errors).max().item()  # a NaN among them is the maximum


@pytest.mark.parametrize(
    "name", ["cotnet50_224", "cotnet50_odd", "cotnext50_224", "se_cotnetd_50_224", "se_cotnetd_152_128"]
)
def test_equals_the_published_model(name, model_parity, official_entries, parity_weights):
    assert models_case(name, model_parity, official_entries, parity_weights) <= 1e-5


def test_every_parity_case_is_run(model_parity):
    assert len(model_parity.cases) == 5


def stride_without_average_pool(model):
    for block in model.modules():
        if isinstance(getattr(block, "pool", None), torch.nn.AvgPool2d):
            block.pool = torch.nn.MaxPool2d(1, 2)


def pool_after_the_mixer(model):
    for block in model.modules():
        if isinstance(getattr(block, "pool", None), torch.nn.AvgPool2d):
            block.pool, block.blur = torch.nn.Identity(), block.pool


@pytest.mark.parametrize("mistake", [stride_without_average_pool, pool_after_the_mixer])
def test_planted_mistake_is_caught(mistake, model_parity, official_entries, parity_weights):
    assert models_case("cotnet50_odd", model_parity, official_entries, parity_weights, mistake) > 1e-3


def test_mixers_of_the_hybrid():
    stages = BODIES["se_cotnetd_50"].stages
    letters = {"se_conv": "S", "cot": "C"}
    pattern = " ".join("".join(letters[stage.mixer(i)] for i in range(stage.depth)) for stage in stages)
    assert pattern == "SSS SSSS CSCSCS CCC"


def test_additions_are_marked_and_small():
    for name, limit in {"cotnet18": 12e6, "cotnet_nano": 1.1e6, "cotnet20_nano": 0.5e6, "cotnet8_nano": 1.3e6}.items():
        assert "addition of this project" in timm.get_pretrained_cfg(name).description
        assert sum(p.numel() for p in timm.create_model(name).parameters()) < limit


def test_weights_start_as_published():
    model = timm.create_model("cotnet_nano")
    assert all((block.bn2.weight == 0).all() for stage in model.stages() for block in stage)
    weight = timm.create_model("cotnet18").layer4[1].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.02)
