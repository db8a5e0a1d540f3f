import pytest

from cotnet.detection.coco.sampler import AspectRatioSampler

ASPECTS = [1.5] * 11 + [0.7] * 6


def batches(order: AspectRatioSampler) -> list[list[int]]:
    flat = order.indices()
    assert [draw.image for draw in order] == flat
    assert len(flat) == len(order)
    return [flat[i : i + order.batch_size] for i in range(0, len(flat), order.batch_size)]


def order(**options) -> AspectRatioSampler:
    return AspectRatioSampler(range(17), ASPECTS, **{"batch_size": 4, **options})


def test_batches_are_of_one_shape_and_every_image_is_there_once():
    found = batches(order())
    assert len(found) == 4
    assert sum(len({ASPECTS[i] for i in batch}) > 1 for batch in found) <= 1  # what is left over of both kinds
    assert len({i for batch in found for i in batch}) == 16


def test_the_order_depends_on_seed_and_epoch_alone():
    one, other = order(), order()
    assert list(one) == list(other)
    other.set_epoch(1)
    assert list(one) != list(other)
    assert list(order(seed=1)) != list(one)


def test_ranks_share_the_images():
    parts = [order(batch_size=2, world_size=2, rank=rank).indices() for rank in (0, 1)]
    assert len(parts[0]) == len(parts[1]) == 8
    assert not set(parts[0]) & set(parts[1])


@pytest.mark.parametrize(("wanted", "batches_of_4"), [(8, 2), (40, 10)])
def test_an_epoch_of_fewer_or_more_images(wanted, batches_of_4):
    found = batches(order(epoch_images=wanted))
    assert len(found) == batches_of_4
    counts = [sum(batch.count(i) for batch in found) for i in range(17)]
    assert max(counts) - min(counts) <= 1


def test_too_few_images_are_named():
    with pytest.raises(ValueError, match="17 images make no batch of 9 on each of 2 devices"):
        order(batch_size=9, world_size=2)


def test_an_epoch_can_be_entered_anywhere():
    whole, resumed = order(), order(start=(1, 8))
    for epoch in (1, 2):
        whole.set_epoch(epoch)
        resumed.set_epoch(epoch)
        assert list(resumed) == list(whole)[8 if epoch == 1 else 0 :]
