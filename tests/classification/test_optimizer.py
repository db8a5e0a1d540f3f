import json
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

import cotnet  # noqa: F401 (registers the models)
from cotnet.classification.optimizer import cosine_schedule, sgd

PARITY = Path(__file__).parents[1] / "parity"


def test_only_parameters_of_two_dimensions_decay():
    network = timm.create_model("cotnet_nano", num_classes=3)
    optimizer = sgd(network, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    for group in optimizer.param_groups:
        decays = group["weight_decay"] > 0
        assert all((parameter.ndim > 1) == decays for parameter in group["params"])
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(network.parameters()))


def test_warm_up_then_cosine():
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    schedule = cosine_schedule(optimizer, epochs=10, warmup_epochs=2, warmup_lr=0.0, final_lr=0.0)
    rates = []
    for epoch in (0, 1, 1.5, 5, 10):
        schedule.step(epoch)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0, 0.5, 0.75, 0.5, 0.0])


def test_equals_the_released_schedule_epoch_by_epoch():
    for case in json.loads((PARITY / "lr_schedule.json").read_text()).values():
        optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=case["base_lr"])
        keys = {"epochs": "epochs", "warmup_epochs": "warmup_epochs", "warmup_lr": "warmup_lr", "final_lr": "min_lr"}
        schedule = cosine_schedule(optimizer, **{ours: case[theirs] for ours, theirs in keys.items()})
        rates = []
        for epoch in range(case["epochs"]):
            schedule.step(epoch)
            rates.append(optimizer.param_groups[0]["lr"])
        assert rates == pytest.approx(case["lr_per_epoch"], rel=1e-12)


def test_layers_decay_from_the_classifier_down():
    network = timm.create_model("cotnet_nano", num_classes=3)
    network.layer1.requires_grad_(False)
    optimizer = sgd(network, lr=1.0, momentum=0.9, nesterov=True, weight_decay=1e-4, layer_decay=0.5)
    cosine_schedule(optimizer, epochs=10, warmup_epochs=0, warmup_lr=0, final_lr=0).step(0)
    names = {parameter: name for name, parameter in network.named_parameters()}
    rate = {names[parameter]: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    assert rate["fc.weight"] == rate["fc.bias"] == 1.0
    assert rate["layer3.2.conv1.weight"] == 2 * rate["layer3.1.conv1.weight"] == 4 * rate["layer3.0.bn1.bias"]
    assert rate["conv1.weight"] == min(rate.values())
    assert not any(name.startswith("layer1") for name in rate)
    decays = {
        names[parameter]: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]
    }
    assert decays["fc.weight"] == 1e-4
    assert decays["fc.bias"] == decays["bn1.weight"] == 0
