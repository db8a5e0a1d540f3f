from types import SimpleNamespace

import torch
from torch import nn

from cotnet.detection.precise_norm import PreciseNorm


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.moving, self.still = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def train(self, mode: bool = True) -> "Network":
        super().train(mode)
        self.still.eval()
        return self

    def forward(self, images, targets):
        return self.still(self.moving(images))


class Module(nn.Module):
    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.network = Network()

    def transfer_batch_to_device(self, batch, device, number):
        return batch


class Loader(list):
    sampler = SimpleNamespace(set_epoch=lambda epoch: None, start=(0, 3))


def test_statistics_are_the_mean_over_the_batches():
    batches = Loader((torch.randn(4, 3, 8, 8) * k + k, None) for k in range(1, 6))
    module = Module().eval()
    trainer = SimpleNamespace(
        sanity_checking=False,
        state=SimpleNamespace(fn="fit"),
        current_epoch=0,
        world_size=1,
        datamodule=SimpleNamespace(train_dataloader=lambda: batches),
    )
    PreciseNorm(3).on_validation_start(trainer, module)
    images = torch.stack([image for image, _ in batches[:3]])
    norm = module.network.moving
    torch.testing.assert_close(norm.running_mean, images.mean((1, 3, 4)).mean(0))
    torch.testing.assert_close(norm.running_var, images.transpose(1, 2).flatten(2).var(-1).mean(0))
    assert norm.momentum == 0.1
    assert not norm.training
    assert torch.equal(module.network.still.running_mean, torch.zeros(3))
