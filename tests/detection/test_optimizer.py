import pytest
import torch
from torch import nn

from cotnet.detection.optimizer import create_optimizer, create_schedule, parameter_groups


def test_norms_do_not_decay_and_frozen_parts_are_left_out():
    network = nn.Sequential(nn.Conv2d(3, 32, 1), nn.BatchNorm2d(32), nn.GroupNorm(32, 32), nn.Conv2d(32, 1, 1))
    network[3].requires_grad_(False)
    norms, others = parameter_groups(network, 0.1)
    assert (norms["weight_decay"], len(norms["params"])) == (0.0, 4)
    assert (others["weight_decay"], len(others["params"])) == (0.1, 2)


def test_steps_of_the_published_schedule():
    optimizer = create_optimizer("sgd", nn.Linear(1, 1), lr=0.02, momentum=0.9, weight_decay=1e-4)
    schedule = create_schedule(optimizer, epochs=18, milestones=[12, 16], warmup_epochs=0.2, warmup_factor=0.001)
    expected = {0: 0.02e-3, 0.1: 0.02 * (0.001 + 0.999 / 2), 0.2: 0.02, 11.99: 0.02, 12: 0.002, 15.9: 0.002, 16: 0.0002}
    for epoch, lr in expected.items():
        schedule.step(epoch)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(lr), epoch


def test_a_cosine_falls_to_zero():
    optimizer = create_optimizer("adamw", nn.Linear(1, 1), lr=1.0, momentum=0.9, weight_decay=0.0)
    schedule = create_schedule(optimizer, epochs=10, milestones=None, warmup_epochs=1, warmup_factor=0.0)
    rates = []
    for epoch in (0, 0.5, 5, 10):
        schedule.step(epoch)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0, 0.5, 0.5, 0])
    assert isinstance(optimizer, torch.optim.AdamW)
    with pytest.raises(ValueError, match="sgd or adamw, got 'adam'"):
        create_optimizer("adam", nn.Linear(1, 1), lr=1.0, momentum=0.9, weight_decay=0.0)
