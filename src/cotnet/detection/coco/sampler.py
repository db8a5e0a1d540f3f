"""An order of images whose batches are of one shape, so that little of them is padding."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Dataset, DistributedSampler

from cotnet.data.samplers import Draw


class AspectOrder(DistributedSampler[Draw]):
    """Mixes images anew every epoch, such that each run of `batch_size` of them lies across or upright alike.

    The images left over in either kind make a mixed batch; what does not fill the last batch of all ranks is dropped.
    The order depends on seed and epoch alone.

    Args:
        images: what is to be ordered.
        aspects: width by height of each image.
        batch_size: of one rank.
        epoch_images: how many make an epoch, over all ranks; None for all of them once. More than there are repeat.
        world: number of ranks.
        rank: this one.
        seed: of the mixing.
        start: an epoch and the number of this rank's images to skip in it.
        fixed: every epoch has the order of the first one.

    Raises:
        ValueError: there are too few images for one batch on every rank.
    """

    def __init__(
        self,
        images: Dataset[object],
        aspects: Sequence[float],
        *,
        batch_size: int,
        epoch_images: int | None = None,
        world: int = 1,
        rank: int = 0,
        seed: int = 0,
        start: tuple[int, int] = (0, 0),
        fixed: bool = False,
    ) -> None:
        super().__init__(images, world, rank, shuffle=True, seed=seed, drop_last=True)
        self.upright = torch.tensor(aspects) < 1
        self.batch_size = batch_size
        self.start = start
        self.fixed = fixed
        self.batches = (epoch_images or len(aspects)) // (batch_size * world)
        if self.batches == 0:
            raise ValueError(
                f"{epoch_images or len(aspects)} images make no batch of {batch_size} on each of {world} devices; "
                "use a smaller --data.batch_size"
            )

    def __len__(self) -> int:
        """Images of this rank."""
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[Draw]:
        epoch, skipped = self.start
        indices = self.indices()[skipped if self.epoch == epoch else 0 :]
        return (Draw(index, self.seed, self.epoch) for index in indices)

    def indices(self) -> list[int]:
        """This rank's images of the whole epoch, in order."""
        generator = torch.Generator().manual_seed(self.seed + (0 if self.fixed else self.epoch))
        every = self.batches * self.num_replicas
        passes = -(-every * self.batch_size // len(self.upright))
        mixed = torch.cat([torch.randperm(len(self.upright), generator=generator) for _ in range(passes)])
        mixed = mixed[: every * self.batch_size]
        upright = self.upright[mixed]
        whole, rest = [], []
        for kind in (mixed[upright], mixed[~upright]):
            end = len(kind) // self.batch_size * self.batch_size
            whole.append(kind[:end])
            rest.append(kind[end:])
        batches = torch.cat(whole + rest).view(every, self.batch_size)
        batches = batches[torch.randperm(every, generator=generator)]
        return batches[self.rank :: self.num_replicas].flatten().tolist()
