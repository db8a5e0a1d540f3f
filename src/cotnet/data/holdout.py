"""A division of images that have no splits: the same share of each class, by a seed and the images' names alone."""

import hashlib
import os
from collections.abc import Collection, Iterable, Sequence


def hold_out(names: Sequence[str], labels: Sequence[int], *, share: float, seed: int) -> set[str]:
    """Choose the images for validation: of each class the share, at least one and not all.

    The choice depends neither on the order of the images nor on where their folder is.

    Args:
        names: Names of the images, each once, relative to the folder of the data set.
        labels: Class index of every image.
        share: Share of each class, above 0 and below 1.
        seed: Seed of the choice.

    Raises:
        ValueError: A class has a single image; the message names it.
    """
    by_class: dict[int, list[str]] = {}
    for name, label in zip(names, labels, strict=True):
        by_class.setdefault(label, []).append(name)
    chosen: set[str] = set()
    for members in by_class.values():
        if len(members) == 1:
            raise ValueError(
                f"{members[0]!r} is the only image of its class, which needs two: for training, validation"
            )
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        chosen.update(sorted(members, key=lambda name: _hash([str(seed), name]))[:count])
    return chosen


def digest(names: Collection[str]) -> str:
    """A checksum of some images by their names."""
    return _hash(sorted(names))[:16]


def relative(paths: Iterable[str], folder: str) -> list[str]:
    """Names of files relative to a folder, with slashes on every system."""
    return [os.path.relpath(path, folder).replace(os.sep, "/") for path in paths]


def _hash(words: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(words).encode(errors="surrogateescape")).hexdigest()
