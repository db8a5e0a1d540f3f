import numpy as np
import pytest

from cotnet.data import BundledImages


@pytest.fixture(scope="module")
def data() -> BundledImages:
    return BundledImages(train_per_class=60, val_per_class=20)


def test_has_a_dozen_classes_of_both_splits(data):
    data.setup()
    assert data.num_classes >= 12
    assert len(data.train_set) == 60 * data.num_classes
    assert len(data.val_set) == 20 * data.num_classes


def test_no_pixel_is_in_both_splits(data):
    for label in range(data.num_classes):
        train = [
            box for box, own in zip(data.train_patches.boxes, data.train_patches.labels, strict=True) if own == label
        ]
        val = [box for box, own in zip(data.val_patches.boxes, data.val_patches.labels, strict=True) if own == label]
        seen = np.zeros((2048, 2048), bool)
        for left, top, right, bottom in train:
            seen[top:bottom, left:right] = True
        assert not any(seen[top:bottom, left:right].any() for left, top, right, bottom in val)


def test_mean_colour_does_not_tell_the_class(data):
    assert float(data.note.split(" scores ")[1].split(" %")[0]) < 25


def test_patches_are_the_same_in_every_run(data):
    again = BundledImages(train_per_class=60, val_per_class=20)
    assert np.array_equal(again.train_patches.pixels, data.train_patches.pixels)


def test_batch_has_the_promised_shape(data):
    data.setup()
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (64, 3, 32, 32)
    assert labels.max() < data.num_classes


@pytest.mark.parametrize("field", ["size", "batch_size", "train_per_class"])
def test_refuses_a_number_below_one(field):
    with pytest.raises(ValueError, match=f"data.{field} must be at least 1, got 0"):
        BundledImages(**{field: 0})


def test_refuses_a_batch_larger_than_the_data():
    with pytest.raises(ValueError, match="more than the 14 training images"):
        BundledImages(train_per_class=1, val_per_class=1).setup()
