"""Which pictures each process validates."""

from collections.abc import Iterator, Sequence

from torch.utils.data import Dataset, DistributedSampler


class Share(DistributedSampler[int]):
    """Every `world`-th index of an order: over all processes each index exactly once, none repeated to fill a batch.

    The shares of the last processes may be shorter by one. Lightning leaves a DistributedSampler as it is.

    Args:
        pictures: What the indices are of.
        order: The indices.
        world: Number of processes.
        rank: Number of this one.

    Raises:
        ValueError: There are fewer pictures than processes.
    """

    def __init__(self, pictures: Dataset, order: Sequence[int], *, world: int, rank: int) -> None:
        if len(order) < world:
            raise ValueError(
                f"{len(order)} validation pictures cannot be shared by {world} processes; use fewer of these"
            )
        super().__init__(pictures, world, rank, shuffle=False)
        self.order = list(order[rank::world])

    def __iter__(self) -> Iterator[int]:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)
