"""Images that cannot be read: the error that names one, and which of a split are skipped."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist


class UnreadableError(ValueError):
    """An image cannot be decoded; the message names it."""


class Unreadable:
    """The images of a split that are skipped, in memory that the loader processes share.

    Args:
        count: Images of the split.
        tolerated: So many may be skipped.

    Attributes:
        marks: bool [count], which ones they are.
    """

    def __init__(self, count: int, *, tolerated: int) -> None:
        self.tolerated = tolerated
        self.marks = torch.zeros(count, dtype=torch.bool).share_memory_()
        self._known: dict[int, str] = {}
        self._earlier: list[str] = []

    def __contains__(self, index: int) -> bool:
        return bool(self.marks[index])

    def indices(self) -> list[int]:
        """The images, in order."""
        return self.marks.nonzero().flatten().tolist()

    def skip(self, index: int, error: UnreadableError) -> None:
        """Mark an image.

        Raises:
            ValueError: It is one more than are tolerated.
        """
        if self.tolerated == 0:
            raise error
        self.marks[index] = True
        if int(self.marks.sum()) > min(self.tolerated, len(self.marks) - 1):
            raise ValueError(f"{error}; data.skip_unreadable {self.tolerated} allows no more") from error

    def gather(self) -> None:
        """Mark what any process of the run has marked; all of them call it together."""
        if self.tolerated == 0 or not (dist.is_available() and dist.is_initialized()):
            return
        found: list[list[int]] = [[] for _ in range(dist.get_world_size())]
        dist.all_gather_object(found, self.indices())
        for indices in found:
            self.marks[indices] = True

    def names(self, name: Callable[[int], str]) -> list[str]:
        """What the images are called, with those of the run before a resume.

        Args:
            name: Says what an image is called; asked once for each.
        """
        self._known |= {index: name(index) for index in self.indices() if index not in self._known}
        return list(dict.fromkeys([*self._earlier, *self._known.values()]))

    def to_plain(self, name: Callable[[int], str]) -> dict[str, Any]:
        """What a checkpoint keeps, in plain values; `name` as for `names`."""
        return {"count": len(self.marks), "names": self.names(name), "known": self._known}

    def from_plain(self, plain: dict[str, Any]) -> None:
        """Take over what a checkpoint has kept; of a split that has changed since then, the names alone."""
        self._earlier = list(plain["names"])
        if plain["count"] == len(self.marks):
            self._known = dict(plain["known"])
            self.marks[list(self._known)] = True
