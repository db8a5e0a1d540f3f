import pytest
import timm
import torch
from torch import nn

import cotnet  # noqa: F401 (registers the models)
from cotnet.train.optimizer import cosine_schedule, scaled_learning_rate, sgd


def test_only_parameters_of_two_dimensions_decay():
    network = timm.create_model("cotnet_nano", num_classes=3)
    optimizer = sgd(network, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    for group in optimizer.param_groups:
        decays = group["weight_decay"] > 0
        assert all((parameter.ndim > 1) == decays for parameter in group["params"])
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(network.parameters()))


def test_rate_follows_the_batch():
    assert scaled_learning_rate(0.1, 512) == pytest.approx(0.2)


def test_warm_up_then_cosine():
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    schedule = cosine_schedule(optimizer, epochs=10, warmup_epochs=2, warmup_lr=0.0, final_lr=0.0)
    rates = []
    for epoch in (0, 1, 1.5, 5, 10):
        schedule.step(epoch)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0, 0.5, 0.75, 0.5, 0.0])
