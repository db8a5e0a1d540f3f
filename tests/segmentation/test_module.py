from types import SimpleNamespace

import pytest

from cotnet.segmentation import Segmenter


def test_the_learning_rate_follows_the_real_batch():
    """2 images on each of 4 devices, 3 batches accumulated: 24 images a step, and `base_lr` is for 16."""
    module = Segmenter("resnet10t", num_classes=1, base_lr=0.02, channels=32)
    module._trainer = SimpleNamespace(
        datamodule=SimpleNamespace(batch_size=2), world_size=4, accumulate_grad_batches=3, max_epochs=3
    )
    optimizer, _ = module.create_optimizer()
    rates = [group["initial_lr"] for group in optimizer.param_groups]
    assert rates == pytest.approx([0.02 * 24 / 16] * len(rates))


def test_masks_are_required():
    module = Segmenter("resnet10t", num_classes=1, channels=32)
    with pytest.raises(ValueError, match=r"trains on masks: pass --data\.masks true"):
        module.check_data(SimpleNamespace(masks=False))
