"""Which images a process serves in which order, and the random numbers of each image.

For training both are functions of seed, epoch and index alone. Nothing depends on the number of loader processes or on
what was drawn before, so an epoch can be entered anywhere.
"""

import random
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DistributedSampler, get_worker_info


class Draw(NamedTuple):
    """An image to serve, by its index, with what its augmentation depends on."""

    image: int
    seed: int
    epoch: int


class DistributedEpochSampler(DistributedSampler[Draw]):
    """One process's part of the shuffled images of an epoch; the incomplete last round is dropped.

    Args:
        images: What to shuffle.
        seed: Seed of the run.
        world_size: Number of processes that share the images.
        rank: Number of this process, from 0.
        start: An epoch and the number of this process's images to skip in it.
        fixed: Whether every epoch has the order of the first one; what augmentation draws still differs.
    """

    def __init__(
        self,
        images: Sized,
        *,
        seed: int,
        world_size: int = 1,
        rank: int = 0,
        start: tuple[int, int] = (0, 0),
        fixed: bool = False,
    ) -> None:
        super().__init__(images, world_size, rank, shuffle=True, seed=seed, drop_last=True)  # type: ignore[arg-type]
        self.start = start
        self.fixed = fixed

    def __iter__(self) -> Iterator[Draw]:
        epoch, skipped = self.start
        indices = self.indices()[skipped if self.epoch == epoch else 0 :]
        return (Draw(index, self.seed, self.epoch) for index in indices)

    def indices(self) -> list[int]:
        """This process's images of the whole epoch, in order."""
        generator = torch.Generator().manual_seed(_hash(self.seed, 0 if self.fixed else self.epoch))
        order = torch.randperm(len(self.dataset), generator=generator)  # type: ignore[arg-type]
        return order[self.rank : self.total_size : self.num_replicas].tolist()


class DistributedEvalSampler(DistributedSampler[int]):
    """One process's part of an order for validation: over all processes each index once, none repeated.

    The parts of the last processes may be shorter by one block. Lightning leaves a `DistributedSampler` as it is.

    Args:
        images: What the indices refer to.
        order: The indices.
        world_size: Number of processes.
        rank: Number of this process, from 0.
        block: Indices that stay together, such as a batch's. Fewer where not every process would get a block.

    Raises:
        ValueError: There are fewer images than processes.
    """

    def __init__(self, images: Sized, order: Sequence[int], *, world_size: int, rank: int, block: int = 1) -> None:
        if len(order) < world_size:
            raise ValueError(
                f"{len(order)} validation images cannot be shared by {world_size} processes; use fewer processes"
            )
        super().__init__(images, world_size, rank, shuffle=False)  # type: ignore[arg-type]
        block = min(block, len(order) // world_size)
        starts = range(rank * block, len(order), world_size * block)
        self.order = [index for start in starts for index in order[start : start + block]]

    def __iter__(self) -> Iterator[int]:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)


@contextmanager
def random_numbers(draw: Draw) -> Iterator[None]:
    """Seed Python, NumPy and torch for one image; outside loader processes their state is restored afterwards."""
    number = _hash(draw.seed, draw.epoch, draw.image)
    in_worker = get_worker_info() is not None
    if not in_worker:
        before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.default_generator.manual_seed(number)
    try:
        yield
    finally:
        if not in_worker:
            random.setstate(before[0])
            np.random.set_state(before[1])
            torch.set_rng_state(before[2])


def _hash(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
