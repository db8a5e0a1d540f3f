"""The order of an epoch and the random numbers of each image, as functions of seed, epoch and index alone.

Nothing here depends on the number of loader processes or on what was drawn before, so an epoch can be entered anywhere.
"""

import random
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DistributedSampler, get_worker_info


class Draw(NamedTuple):
    """An image, by its index, as an epoch of the run with a seed changes it."""

    image: int
    seed: int
    epoch: int


class EpochOrder(DistributedSampler[Draw]):
    """The share of one process in the shuffled images of an epoch; the incomplete last round is dropped.

    Args:
        images: What to shuffle.
        seed: Of the run.
        processes: Number of processes that share the images.
        rank: Which of them this is.
        start: An epoch and the number of this process's images to skip in it.
        fixed: Every epoch has the order of the first one; what augmentation draws still differs.
    """

    def __init__(
        self,
        images: Sized,
        *,
        seed: int,
        processes: int = 1,
        rank: int = 0,
        start: tuple[int, int] = (0, 0),
        fixed: bool = False,
    ) -> None:
        super().__init__(images, processes, rank, shuffle=True, seed=seed, drop_last=True)  # type: ignore[arg-type]
        self.start = start
        self.fixed = fixed

    def __iter__(self) -> Iterator[Draw]:
        epoch, skipped = self.start
        indices = self.indices()[skipped if self.epoch == epoch else 0 :]
        return (Draw(index, self.seed, self.epoch) for index in indices)

    def indices(self) -> list[int]:
        """This process's images of the whole epoch, in order."""
        generator = torch.Generator().manual_seed(_number(self.seed, 0 if self.fixed else self.epoch))
        order = torch.randperm(len(self.dataset), generator=generator)  # type: ignore[arg-type]
        return order[self.rank : self.total_size : self.num_replicas].tolist()


@contextmanager
def random_numbers(draw: Draw) -> Iterator[None]:
    """Python, NumPy and torch draw what belongs to an image; outside of loader processes they go on as before."""
    number = _number(draw.seed, draw.epoch, draw.image)
    alone = get_worker_info() is None
    if alone:
        before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.default_generator.manual_seed(number)
    try:
        yield
    finally:
        if alone:
            random.setstate(before[0])
            np.random.set_state(before[1])
            torch.set_rng_state(before[2])


def _number(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
