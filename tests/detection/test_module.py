from types import SimpleNamespace

import pytest

from cotnet.detection import Detector, Segmenter

SMALL = {"kwargs": {"channels": 32}, "norm": "group"}


def test_the_learning_rate_follows_the_real_batch():
    """2 images on each of 4 devices, 3 batches accumulated: 24 images a step, of the 16 that `base_lr` is for."""
    trainer = SimpleNamespace(
        datamodule=SimpleNamespace(batch_size=2), world_size=4, accumulate_grad_batches=3, max_epochs=3
    )
    for module in (
        Detector("resnet10t", num_classes=1, base_lr=0.02, frozen=0, **SMALL),
        Segmenter("resnet10t", num_classes=1, base_lr=0.02, channels=32),
    ):
        module._trainer = trainer
        optimizer, _ = module.create_optimizer()
        rates = [group["initial_lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([0.02 * 24 / 16] * len(rates))


def test_what_does_not_go_together_is_named():
    with pytest.raises(ValueError, match=r"model.precise_norm 2 .* model.ema_decay 0.9 .*: use one of them"):
        Detector("resnet10t", num_classes=1, precise_norm=2, ema_decay=0.9)
