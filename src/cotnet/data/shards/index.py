"""The index beside tar shards: the classes and the number of images in every shard, known without reading a shard."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

INDEX = "index.json"
FORMAT = "cotnet-shards-1"


@dataclass(frozen=True)
class Shard:
    """One tar file.

    Attributes:
        name: Its file name.
        images: Number of images in it.
        bytes: Its size.
    """

    name: str
    images: int
    bytes: int


@dataclass(frozen=True)
class ShardIndex:
    """What the shards of a data set hold.

    Attributes:
        classes: Names of the classes; a label is an index into them.
        splits: The shards of ``train`` and ``val``.
        per_class: Number of images of each class, by split.
        synsets: WordNet ids of the classes, where they are known.
    """

    classes: list[str]
    splits: dict[str, list[Shard]]
    per_class: dict[str, list[int]]
    synsets: list[str] | None = None

    def images(self, split: str) -> int:
        """Number of images of a split."""
        return sum(shard.images for shard in self.splits[split])

    def to_json(self) -> str:
        """The text of the index file."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, name: str) -> "ShardIndex":
        """Read what `to_json` has written, with checks: it may come from anywhere, and shard names must be plain.

        Args:
            text: JSON of unknown origin.
            name: Name of the index in an error message.

        Raises:
            ValueError: It is not such an index, or is damaged.
        """
        try:
            plain: Any = json.loads(text)
            if plain.pop("format") != FORMAT:
                raise KeyError
            splits = {split: [Shard(**shard) for shard in shards] for split, shards in plain.pop("splits").items()}
            index = cls(splits=splits, **plain)
            fault = index._fault()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{name} is not an index of shards; `cotnet shards` writes one") from error
        if fault:
            raise ValueError(f"{name} is damaged: {fault}")
        return index

    def _fault(self) -> str | None:
        if not self.classes or not all(isinstance(one, str) for one in self.classes):
            return "its classes must be names"
        for split, shards in self.splits.items():
            for shard in shards:
                if not re.fullmatch(r"[\w.-]+\.tar", shard.name):
                    return f"a shard must be the name of a .tar file, got {shard.name!r}"
                if not isinstance(shard.images, int) or shard.images < 1:
                    return f"{shard.name} must hold images, got {shard.images!r}"
            if sum(self.per_class[split]) != self.images(split):
                return f"its numbers of {split} images contradict each other"
        return None


@dataclass(frozen=True)
class Portion:
    """The part of a split for one reader.

    Attributes:
        shards: Indices of the shards to open.
        step: Every how many images of them one is taken.
        first: The first image to take.
        images: Number of images taken.
    """

    shards: list[int]
    step: int
    first: int
    images: int


def portion(counts: Sequence[int], order: Sequence[int], *, readers: int, reader: int) -> Portion:
    """Divide shards among readers; over all readers every image is read exactly once.

    Readers get whole shards where there is at least one for each, so that each is opened once; else images in turn.

    Args:
        counts: Number of images in each shard.
        order: The shards in the order in which they are read.
        readers: Number of readers.
        reader: Number of this one, from 0.
    """
    if len(order) >= readers:
        shards = list(order[reader::readers])
        return Portion(shards, 1, 0, sum(counts[shard] for shard in shards))
    total = sum(counts[shard] for shard in order)
    return Portion(list(order), readers, reader, len(range(reader, total, readers)))
