"""Images one at a time, and small ones in memory: the same images, the same changes, a batch at a time."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cotnet.data import NpzPack
from cotnet.data.datasets import ImageDataset, InMemoryDataset, flip, shift
from cotnet.data.samplers import Draw
from cotnet.files.image import UnreadableImageError
from tests.data.numbers import Numbers, noisy
from tests.data.test_npz import arrays


@pytest.fixture
def pack(tmp_path):
    def make(**options):
        np.savez(tmp_path / "pack.npz", **arrays(12))
        data = NpzPack(str(tmp_path / "pack.npz"), batch_size=4, num_workers=0, **options)
        data.setup()
        return data

    return make


@pytest.mark.parametrize(("size", "crop_pct"), [(16, 1.0), (16, 0.8), (10, 1.0), (24, 0.9)])
def test_in_memory_validates_on_the_same_images(pack, size, crop_pct):
    one, whole = (pack(size=size, crop_pct=crop_pct, in_memory=m).val_dataloader() for m in (False, True))
    for (x, labels), (x_whole, labels_whole) in zip(one, whole, strict=True):
        assert torch.equal(labels, labels_whole)
        torch.testing.assert_close(x_whole, x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [16, 10])
def test_in_memory_trains_on_the_same_images(pack, size):
    one, whole = (pack(size=size, augment="none", in_memory=m).train_set for m in (False, True))
    assert len(one) == len(whole) == 12
    for (x, label), (x_whole, label_whole) in zip(one, DataLoader(whole, batch_size=None), strict=True):
        assert label == label_whole
        torch.testing.assert_close(x_whole, x, rtol=0, atol=1e-5)


def test_each_image_of_a_batch_is_shifted_by_itself():
    batch = torch.arange(1, 26, dtype=torch.uint8).view(1, 1, 5, 5).expand(200, 3, 5, 5)
    shifted = shift(batch, 2)
    padded = torch.nn.functional.pad(batch[0], (2,) * 4)
    crops = {(i, j): padded[:, i : i + 5, j : j + 5] for i in range(5) for j in range(5)}
    seen = {next(at for at, crop in crops.items() if torch.equal(crop, image)) for image in shifted}
    assert seen == set(crops)


def test_each_image_of_a_batch_is_flipped_by_itself():
    batch = torch.arange(24, dtype=torch.uint8).view(1, 2, 3, 4).expand(100, 2, 3, 4)
    flipped = [torch.equal(image, batch[0].flip(-1)) for image in flip(batch, -1)]
    assert 25 < sum(flipped) < 75
    kept = [torch.equal(image, batch[0]) for image in flip(batch, -2)]
    assert 25 < sum(kept) < 75


def test_the_seed_decides_the_changes():
    images = InMemoryDataset(
        torch.randint(256, (8, 3, 8, 8), dtype=torch.uint8),
        range(8),
        name=str,
        augment="pad_crop",
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
    )
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(torch.stack([x for x, _ in images.__getitems__(list(range(8)))]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("options", [{"augment": "resized_crop"}, {"auto_augment": "rand-m9"}])
def test_in_memory_refuses_what_it_cannot_do(options):
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"does not go with data.{name} {value}; use --data.in_memory false"):
        NpzPack("pack.npz", in_memory=True, **options)


def test_an_unreadable_image_is_named_at_once(tmp_path):
    content = arrays()
    content["train_jpeg"] = content["train_jpeg"].copy()
    content["train_jpeg"][:20] = 0
    np.savez(tmp_path / "pack.npz", **content)
    with pytest.raises(ValueError, match=r"cannot read the image 0 of .*pack.npz train"):
        NpzPack(str(tmp_path / "pack.npz"), batch_size=2, in_memory=True).setup()


def test_the_next_readable_image_takes_the_place_of_an_unreadable_one():
    images = ImageDataset(Numbers(4, 5), range(8), noisy, tolerated=2)
    image, label = images[Draw(4, 0, 0)]
    assert (image[0], label) == (6, 6)
    assert images.unreadable.indices() == [4, 5]
    assert images[Draw(5, 0, 0)][1] == 6
    with pytest.raises(UnreadableImageError, match="5 is broken"):  # validation has no other image to show
        images[5]


@pytest.mark.parametrize(
    ("tolerated", "message"), [(0, "^4 is broken$"), (1, "5 is broken; .*skip_unreadable 1 allows")]
)
def test_one_unreadable_image_more_than_tolerated_stops(tolerated, message):
    with pytest.raises(ValueError, match=message):
        ImageDataset(Numbers(4, 5), range(8), noisy, tolerated=tolerated)[Draw(4, 0, 0)]


def test_no_readable_image_at_all_is_an_error():
    with pytest.raises(ValueError, match="is broken"):
        ImageDataset(Numbers(0, 1), range(2), noisy, tolerated=9)[Draw(0, 0, 0)]


def test_loader_processes_share_what_they_know_of_unreadable_images():
    images = ImageDataset(Numbers(4, 5), range(8), noisy, tolerated=2)
    draws = [Draw(index, 0, 0) for index in range(8)]
    list(DataLoader(images, batch_size=1, sampler=draws, num_workers=2))
    assert images.unreadable.indices() == [4, 5]
