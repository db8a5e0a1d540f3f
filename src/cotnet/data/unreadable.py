"""The unreadable images of a split: counted against the number to tolerate, shared by processes, kept on a resume."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from cotnet.files.image import UnreadableImageError


class UnreadableImages:
    """The images of a split that are skipped, in memory that the loader processes share.

    Args:
        count: Number of images in the split.
        tolerated: The number of unreadable images to tolerate.

    Attributes:
        marks: bool [count], true for those that are skipped.
    """

    def __init__(self, count: int, *, tolerated: int) -> None:
        self.tolerated = tolerated
        self.marks = torch.zeros(count, dtype=torch.bool).share_memory_()
        self._known: dict[int, str] = {}
        self._earlier: list[str] = []

    def __contains__(self, index: int) -> bool:
        return bool(self.marks[index])

    def indices(self) -> list[int]:
        """Indices of the images, in order."""
        return self.marks.nonzero().flatten().tolist()

    def skip(self, index: int, error: UnreadableImageError) -> None:
        """Mark an image.

        Raises:
            ValueError: There are now more than are tolerated.
        """
        if self.tolerated == 0:
            raise error
        self.marks[index] = True
        if int(self.marks.sum()) > min(self.tolerated, len(self.marks) - 1):
            raise ValueError(f"{error}; data.skip_unreadable {self.tolerated} allows no more") from error

    def gather(self) -> None:
        """Mark what any process of the run has marked; all processes must call it together."""
        if self.tolerated == 0 or not (dist.is_available() and dist.is_initialized()):
            return
        gathered: list[list[int]] = [[] for _ in range(dist.get_world_size())]
        dist.all_gather_object(gathered, self.indices())
        for indices in gathered:
            self.marks[indices] = True

    def names(self, name: Callable[[int], str]) -> list[str]:
        """Names of the images, with those of the run before a resume.

        Args:
            name: Gives the name of an image by its index; called once for each.
        """
        self._known |= {index: name(index) for index in self.indices() if index not in self._known}
        return list(dict.fromkeys([*self._earlier, *self._known.values()]))

    def to_plain(self, name: Callable[[int], str]) -> dict[str, Any]:
        """What a checkpoint keeps, in plain values; ``name`` as for `names`."""
        return {"count": len(self.marks), "names": self.names(name), "known": self._known}

    def from_plain(self, plain: dict[str, Any]) -> None:
        """Take over what a checkpoint has kept; where the split has another size by now, only the names."""
        self._earlier = list(plain["names"])
        if plain["count"] == len(self.marks):
            self._known = dict(plain["known"])
            self.marks[list(self._known)] = True
