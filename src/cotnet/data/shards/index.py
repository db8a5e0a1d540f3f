"""The index beside tar shards: classes, and the images of every shard, so that none is read to know their number."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

INDEX = "index.json"
FORMAT = "cotnet-shards-1"


@dataclass(frozen=True)
class Shard:
    """One tar file.

    Attributes:
        name: its file name.
        images: how many images it holds.
        bytes: its size.
    """

    name: str
    images: int
    bytes: int


@dataclass(frozen=True)
class ShardIndex:
    """What the shards of a data set hold.

    Attributes:
        classes: names of the classes; a label is an index into them.
        splits: the shards of ``train`` and ``val``.
        per_class: images of each class, by split.
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
        """The index as its file holds it."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, name: str) -> "ShardIndex":
        """Check and take over what `to_json` made; shard names are file names alone.

        Args:
            text: JSON of unknown origin.
            name: What to call it in an error message.

        Raises:
            ValueError: It is no such index, or damaged.
        """
        try:
            plain: Any = json.loads(text)
            if plain.pop("format") != FORMAT:
                raise KeyError
            splits = {split: [Shard(**shard) for shard in shards] for split, shards in plain.pop("splits").items()}
            index = cls(splits=splits, **plain)
            fault = index._fault()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{name} is no index of shards; `cotnet shards` writes one") from error
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
                return f"its numbers of {split} images do not agree"
        return None


@dataclass(frozen=True)
class Portion:
    """The part of a split that one reader reads.

    Attributes:
        shards: indices of the shards that it opens.
        step: it takes every `step`-th image of them.
        first: the first one that it takes.
        images: how many these are.
    """

    shards: list[int]
    step: int
    first: int
    images: int


def portion(counts: Sequence[int], order: Sequence[int], *, readers: int, reader: int) -> Portion:
    """Divide shards among readers; over all readers every image is read exactly once.

    Whole shards where there is at least one for each reader, so that each is opened once; else images in turn.

    Args:
        counts: images of each shard.
        order: the shards in the order in which they are read.
        readers: how many readers there are.
        reader: which one this is.
    """
    if len(order) >= readers:
        own = list(order[reader::readers])
        return Portion(own, 1, 0, sum(counts[shard] for shard in own))
    total = sum(counts[shard] for shard in order)
    return Portion(list(order), readers, reader, len(range(reader, total, readers)))


def read_index(place: Path) -> ShardIndex:
    """Read the index of a folder of shards.

    Raises:
        ValueError: It is missing, or damaged.
    """
    path = place / INDEX
    if not path.is_file():
        raise ValueError(f"{str(path)!r} does not exist; `cotnet shards` writes it beside its shards")
    return ShardIndex.from_json(path.read_bytes(), name=repr(str(path)))
