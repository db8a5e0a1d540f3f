from types import SimpleNamespace

import pytest

from cotnet.detection import Detector


def test_the_learning_rate_follows_the_real_batch():
    """2 images on each of 4 devices, 3 batches accumulated: 24 images a step, and `base_lr` is for 16."""
    module = Detector("resnet10t", num_classes=1, base_lr=0.02, frozen=0, norm="group", kwargs={"channels": 32})
    module._trainer = SimpleNamespace(
        datamodule=SimpleNamespace(batch_size=2), world_size=4, accumulate_grad_batches=3, max_epochs=3
    )
    optimizer, _ = module.create_optimizer()
    rates = [group["initial_lr"] for group in optimizer.param_groups]
    assert rates == pytest.approx([0.02 * 24 / 16] * len(rates))


def test_images_of_another_kind_are_refused():
    module = Detector("resnet10t", num_classes=1, frozen=0, norm="group", kwargs={"channels": 32})
    with pytest.raises(ValueError, match=r"train on cotnet\.detection\.CocoData, not on types.SimpleNamespace"):
        module.describe(SimpleNamespace(class_names=["a"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_lr": -1.0}, "model.base_lr must be at least 1e-12, got -1"),
        ({"momentum": 2.0}, "model.momentum must be at least 0 and at most 1, got 2"),
        ({"sizes": (300, 200)}, "model.sizes must be at least 1 and at most 200, got 300"),
        ({"max_size": 100}, "model.max_size must be at least 800, got 100"),
        ({"weight_decay": float("inf")}, "model.weight_decay must be at least 0, got inf"),
    ],
)
def test_numbers_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Detector("resnet10t", num_classes=1, **options)


def test_what_does_not_go_together_is_named():
    with pytest.raises(ValueError, match=r"model.precise_norm 2 .* model.ema_decay 0.9 .*: use one of them"):
        Detector("resnet10t", num_classes=1, precise_norm=2, ema_decay=0.9)
