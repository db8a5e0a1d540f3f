"""BatchNorm over all processes, for what one process can show of it."""

import torch
import torch.distributed as dist
from torch import nn

from cotnet.layers.sync_norm import SyncBatchNorm


def test_a_step_without_a_value_in_any_process_leaves_the_statistics(monkeypatch):
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: None)
    norm = SyncBatchNorm(nn.BatchNorm2d(3)).train()
    x = torch.zeros(0, 3, 4, 4, requires_grad=True)
    norm(x).sum().backward()
    assert x.grad.shape == (0, 3, 4, 4)
    assert norm.running_mean.tolist() == [0, 0, 0]
    assert norm.running_var.tolist() == [1, 1, 1]
    assert norm.weight.grad.tolist() == [0, 0, 0]
    x = torch.randn(5, 3, 4, 4)
    torch.testing.assert_close(norm(x), nn.BatchNorm2d(3).train()(x))
    assert (norm.running_mean != 0).all()
