import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cotnet.data.datasets import ImageDataset
from cotnet.data.samplers import DistributedEpochSampler, DistributedEvalSampler, Draw, random_numbers
from tests.data.numbers import Numbers, noisy


def batches(order, *, num_workers=0, reader=None):
    images = ImageDataset(reader or Numbers(), range(20), noisy)
    return [batch for batch, _ in DataLoader(images, batch_size=4, sampler=order, num_workers=num_workers)]


def order_of(epoch, **options):
    order = DistributedEpochSampler(range(20), seed=3, **options)
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
    orders = [order_of(0).indices(), order_of(1).indices(), DistributedEpochSampler(range(20), seed=4).indices()]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    shares = [order_of(1, world_size=2, rank=rank).indices() for rank in (0, 1)]
    assert sorted(shares[0] + shares[1]) == list(range(20))
    first, second = batches(order_of(0)), batches(order_of(1))
    assert not set(torch.cat(first)[:, 1].tolist()) & set(torch.cat(second)[:, 1].tolist())


def test_drawing_for_an_image_leaves_the_generators_as_they_were():
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


@pytest.mark.parametrize("block", [1, 3, 100])
@pytest.mark.parametrize("world_size", [1, 2, 7])
def test_processes_validate_every_image_once(world_size, block):
    order = list(reversed(range(20)))
    parts = [
        list(DistributedEvalSampler(range(20), order, world_size=world_size, rank=rank, block=block))
        for rank in range(world_size)
    ]
    assert sorted(index for part in parts for index in part) == list(range(20))
    if world_size == 1:
        assert parts[0] == order


def test_fewer_images_than_processes_are_refused():
    with pytest.raises(ValueError, match="2 validation images cannot be shared by 3 processes; use fewer processes"):
        DistributedEvalSampler(range(2), [0, 1], world_size=3, rank=0)
