import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cotnet.data.datasets import Images
from cotnet.data.samplers import Draw, EpochOrder, random_numbers
from cotnet.data.unreadable import UnreadableError


class Numbers:
    """Images that are their own index; some cannot be read."""

    def __init__(self, *broken):
        self.broken = broken
        self.read = []

    def __call__(self, index):
        if index in self.broken:
            raise UnreadableError(f"{index} is broken")
        self.read.append(index)
        return index

    def name(self, index):
        return f"number {index}"


def noisy(index):
    """An augmentation that draws from all three generators."""
    return torch.tensor([index, random.random(), np.random.rand(), torch.rand(()).item()], dtype=torch.float64)


def batches(order, *, num_workers=0, reader=None):
    images = Images(reader or Numbers(), range(20), noisy)
    return [batch for batch, _ in DataLoader(images, batch_size=4, sampler=order, num_workers=num_workers)]


def order_of(epoch, **options):
    order = EpochOrder(range(20), seed=3, **options)
    order.set_epoch(epoch)
    return order


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_epoch_entered_in_its_middle_goes_on_as_the_whole_one(num_workers):
    whole = batches(order_of(2))
    reader = Numbers()
    rest = batches(order_of(2, start=(2, 12)), num_workers=num_workers, reader=reader)
    assert torch.equal(torch.stack(rest), torch.stack(whole[3:]))
    if not num_workers:
        assert reader.read == torch.cat(whole)[12:, 0].tolist()  # what was skipped is not even read
    assert torch.equal(torch.stack(batches(order_of(3, start=(2, 12)))), torch.stack(batches(order_of(3))))


def test_epochs_and_seeds_differ_and_processes_share():
    orders = [order_of(0).indices(), order_of(1).indices(), EpochOrder(range(20), seed=4).indices()]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    shares = [order_of(1, processes=2, rank=rank).indices() for rank in (0, 1)]
    assert sorted(shares[0] + shares[1]) == list(range(20))
    first, second = batches(order_of(0)), batches(order_of(1))
    assert not set(torch.cat(first)[:, 1].tolist()) & set(torch.cat(second)[:, 1].tolist())


def test_drawing_for_a_image_leaves_the_generators_as_they_were():
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = noisy(0)
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    with random_numbers(Draw(5, 0, 0)):
        inside = noisy(0)
    assert torch.equal(noisy(0), expected)
    assert not torch.equal(inside, expected)


def test_a_fixed_order_is_that_of_the_first_epoch_and_augmentation_still_changes():
    assert order_of(5, fixed=True).indices() == order_of(0).indices()
    first, later = (torch.cat(batches(order_of(epoch, fixed=True))) for epoch in (0, 5))
    assert torch.equal(first[:, 0], later[:, 0])
    assert not torch.equal(first[:, 1:], later[:, 1:])


def test_the_next_readable_image_takes_the_place_of_an_unreadable_one():
    images = Images(Numbers(4, 5), range(8), noisy, tolerated=2)
    image, label = images[Draw(4, 0, 0)]
    assert (image[0], label) == (6, 6)
    assert images.unreadable.indices() == [4, 5]
    assert images[Draw(5, 0, 0)][1] == 6
    with pytest.raises(UnreadableError, match="5 is broken"):  # validation has no other image to show
        images[5]


@pytest.mark.parametrize(
    ("tolerated", "message"), [(0, "^4 is broken$"), (1, "5 is broken; .*skip_unreadable 1 allows")]
)
def test_one_unreadable_image_more_than_tolerated_stops(tolerated, message):
    with pytest.raises(ValueError, match=message):
        Images(Numbers(4, 5), range(8), noisy, tolerated=tolerated)[Draw(4, 0, 0)]


def test_no_readable_image_at_all_is_an_error():
    with pytest.raises(ValueError, match="is broken"):
        Images(Numbers(0, 1), range(2), noisy, tolerated=9)[Draw(0, 0, 0)]


def test_loader_processes_share_what_they_know_of_unreadable_images():
    images = Images(Numbers(4, 5), range(8), noisy, tolerated=2)
    draws = [Draw(index, 0, 0) for index in range(8)]
    list(DataLoader(images, batch_size=1, sampler=draws, num_workers=2))
    assert images.unreadable.indices() == [4, 5]
