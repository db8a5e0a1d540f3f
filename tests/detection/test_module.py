from types import SimpleNamespace

import pytest

from cotnet.detection import Detector


def test_the_learning_rate_follows_the_real_batch():
    """2 images on each of 4 devices, 3 batches accumulated: 24 images per step, and `base_lr` is for 16."""
    module = Detector("resnet10t", num_classes=1, base_lr=0.02, frozen=0, norm="group", kwargs={"channels": 32})
    module._trainer = SimpleNamespace(
        datamodule=SimpleNamespace(batch_size=2), world_size=4, accumulate_grad_batches=3, max_epochs=3
    )
    optimizer, _ = module.create_optimizer()
    rates = [group["initial_lr"] for group in optimizer.param_groups]
    assert rates == pytest.approx([0.02 * 24 / 16] * len(rates))


def test_more_objects_than_the_detector_finds_are_said(capsys):
    module = Detector("resnet10t", num_classes=1, norm="group", kwargs={"channels": 32, "box_detections_per_img": 50})
    objects = {image: [{"iscrowd": 0}] * count for image, count in ((1, 51), (2, 50), (3, 70))}
    images = SimpleNamespace(annotations=SimpleNamespace(objects=objects, source="train.json"))
    module.check_data(SimpleNamespace(trainer=None, masks=False, train_set=images, val_set=images))
    out = capsys.readouterr().out
    assert "train.json: 2 of 3 images have up to 70 objects; the detector finds 50 at most, which " in out
    assert "--model.kwargs.box_detections_per_img changes" in out
    module = Detector("resnet10t", num_classes=1, norm="group", kwargs={"channels": 32})
    module.check_data(SimpleNamespace(trainer=None, masks=False, train_set=images, val_set=images))
    assert "note" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "ckpt_path", "said"),
    [
        ({}, None, "--model.frozen 2 keeps parts of the body at their random weights"),
        ({"frozen": 0, "frozen_norm": True}, None, "--model.frozen_norm True keeps parts"),
        ({"frozen": 0}, None, ""),
        ({"init_from": "weights.pth.tar"}, None, ""),
        ({}, "last.ckpt", ""),
    ],
)
def test_random_weights_that_stay_are_said(fields, ckpt_path, said, capsys):
    module = Detector("resnet10t", num_classes=1, norm="group", kwargs={"channels": 32}, **fields)
    module._trainer = SimpleNamespace(ckpt_path=ckpt_path)
    module.on_fit_start()
    out = capsys.readouterr().out
    assert said in out
    assert bool(out) == bool(said)


def test_a_range_test_knows_what_the_rate_is_for():
    assert Detector.base_batch == 16


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
