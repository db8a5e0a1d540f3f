"""Which images each process validates."""

from collections.abc import Iterator, Sequence

from torch.utils.data import Dataset, DistributedSampler


class Share(DistributedSampler[int]):
    """Every `world`-th block of an order: over all processes each index exactly once, none repeated to fill a batch.

    The shares of the last processes may be shorter by one block. Lightning leaves a DistributedSampler as it is.

    Args:
        images: What the indices are of.
        order: The indices.
        world: Number of processes.
        rank: Number of this one.
        block: Indices that stay together, such as a batch's. Fewer where not every process would get a block.

    Raises:
        ValueError: There are fewer images than processes.
    """

    def __init__(self, images: Dataset, order: Sequence[int], *, world: int, rank: int, block: int = 1) -> None:
        if len(order) < world:
            raise ValueError(
                f"{len(order)} validation images cannot be shared by {world} processes; use fewer of these"
            )
        super().__init__(images, world, rank, shuffle=False)
        block = min(block, len(order) // world)
        starts = range(rank * block, len(order), world * block)
        self.order = [index for start in starts for index in order[start : start + block]]

    def __iter__(self) -> Iterator[int]:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)
