"""An order of images whose batches hold one shape, so that little of them is padding."""

from collections.abc import Sequence, Sized

import torch

from cotnet.data.samplers import DistributedEpochSampler


class AspectRatioSampler(DistributedEpochSampler):
    """Shuffles images anew every epoch, in batches that hold either landscape or portrait images.

    The images left over of both kinds make a mixed batch; what does not fill the last batch of all ranks is dropped.
    The order depends on seed and epoch alone.

    Args:
        images: The dataset to draw from.
        aspect_ratios: Width by height of each image.
        batch_size: Images per batch of one rank.
        epoch_images: Images per epoch over all ranks; None for each image once. If there are fewer, they repeat.
        world_size: Number of ranks.
        rank: Number of this rank.
        seed: Seed of the order.
        start: An epoch, and the number of this rank's images to skip in it.
        fixed: Every epoch has the order of the first one.

    Raises:
        ValueError: There are too few images for one batch on every rank.
    """

    def __init__(
        self,
        images: Sized,
        aspect_ratios: Sequence[float],
        *,
        batch_size: int,
        epoch_images: int | None = None,
        world_size: int = 1,
        rank: int = 0,
        seed: int = 0,
        start: tuple[int, int] = (0, 0),
        fixed: bool = False,
    ) -> None:
        super().__init__(images, seed=seed, world_size=world_size, rank=rank, start=start, fixed=fixed)
        self.portrait = torch.tensor(aspect_ratios) < 1
        self.batch_size = batch_size
        self.batches = (epoch_images or len(aspect_ratios)) // (batch_size * world_size)
        if self.batches == 0:
            raise ValueError(
                f"{epoch_images or len(aspect_ratios)} images make no batch of {batch_size} on each of {world_size} "
                "devices; use a smaller --data.batch_size"
            )

    def __len__(self) -> int:
        """Images of this rank."""
        return self.batches * self.batch_size

    def indices(self) -> list[int]:
        """This rank's images of the whole epoch, in order."""
        generator = torch.Generator().manual_seed(self.seed + (0 if self.fixed else self.epoch))
        batches = self.batches * self.num_replicas
        passes = -(-batches * self.batch_size // len(self.portrait))
        shuffled = torch.cat([torch.randperm(len(self.portrait), generator=generator) for _ in range(passes)])
        shuffled = shuffled[: batches * self.batch_size]
        portrait = self.portrait[shuffled]
        whole, rest = [], []
        for kind in (shuffled[portrait], shuffled[~portrait]):
            end = len(kind) // self.batch_size * self.batch_size
            whole.append(kind[:end])
            rest.append(kind[end:])
        order = torch.cat(whole + rest).view(batches, self.batch_size)
        order = order[torch.randperm(batches, generator=generator)]
        return order[self.rank :: self.num_replicas].flatten().tolist()
