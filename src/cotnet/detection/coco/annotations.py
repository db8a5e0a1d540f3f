"""The usable annotations of a set, as they are read from a file, split, or matched to other classes."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch

from cotnet.detection.coco.format import Entry, listed


@dataclass
class CocoAnnotations:
    """The usable content of an annotation file.

    Attributes:
        images: Entries of ``images``, with ``id``, ``file_name``, ``height``, ``width``, and the ``path`` in the set.
        objects: Usable annotations by the image's id, each box ``[x, y, width, height]`` inside its image.
        category_ids: The file's ids of the categories, in order; label k, from 1, is ``category_ids[k - 1]``.
        class_names: Their names.
        problems: Names of what was left out or corrected, by kind.
        hints: Sentences on what looks wrong in the file as a whole.
        unreadable: Images left out because they cannot be read and have no size in the file: a sentence by name.
        source: The annotation file.
        upright: Whether the file says that it refers to images turned upright by their EXIF orientation.
    """

    images: list[Entry]
    objects: dict[int, list[Entry]]
    category_ids: list[int]
    class_names: list[str]
    problems: dict[str, list[str]] = field(default_factory=dict)
    hints: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    source: str = ""
    upright: bool = False

    def report(self) -> str:
        """One line for each kind of problem, with its count and the first names; empty where there is none."""
        lines = [f"{self.source}: {len(names)} {kind}: {listed(names)}" for kind, names in self.problems.items()]
        return "\n".join(lines + [f"{self.source}: {hint}" for hint in self.hints])

    def only(self, ids: Container[int]) -> "CocoAnnotations":
        """The annotations of some images.

        Args:
            ids: The ids of the images to keep.
        """
        images = [image for image in self.images if image["id"] in ids]
        return replace(self, images=images, objects={image["id"]: self.objects[image["id"]] for image in images})

    def leave_out(self, indices: Iterable[int]) -> None:
        """Remove images with their objects.

        Args:
            indices: The positions of the images in ``images``.
        """
        removed = set(indices)
        for index in removed:
            del self.objects[self.images[index]["id"]]
        self.images = [image for index, image in enumerate(self.images) if index not in removed]

    def split(self, fraction: float, *, seed: int) -> tuple["CocoAnnotations", "CocoAnnotations"]:
        """Two parts of the images, drawn by their names and the seed alone.

        Args:
            fraction: The share of the second part, which has at least one image and leaves one.
            seed: Seed of the draw.

        Raises:
            ValueError: There are fewer than two images.
        """
        if len(self.images) < 2:
            raise ValueError(f"{self.source}: {len(self.images)} image cannot be split into training and validation")
        ids = [image["id"] for image in sorted(self.images, key=lambda image: image["path"])]
        order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed)).tolist()
        count = min(max(1, round(fraction * len(ids))), len(ids) - 1)
        second = {ids[index] for index in order[:count]}
        parts = self.only(set(ids) - second), self.only(second)
        return replace(parts[0], problems={}, hints=[]), replace(parts[1], problems={}, hints=[], unreadable={})

    def with_classes(self, class_names: Sequence[str], category_ids: Sequence[int]) -> "CocoAnnotations":
        """The same annotations with the classes of a training set or a network, matched by name.

        Args:
            class_names: Names of the classes.
            category_ids: The id of each class; the annotations get these.

        Raises:
            ValueError: There are objects of other classes.
        """
        if (self.class_names, self.category_ids) == (list(class_names), list(category_ids)):
            return self
        ids = dict(zip(class_names, category_ids, strict=True))
        names = dict(zip(self.category_ids, self.class_names, strict=True))
        present = {one["category_id"] for entries in self.objects.values() for one in entries}
        unknown = [name for identity, name in names.items() if name not in ids and identity in present]
        if unknown:
            raise ValueError(
                f"categories differ: {self.source} has objects of {listed(unknown)}, the classes of the network are "
                f"{listed(list(class_names))}; rename or remove them"
            )
        absent = [name for name in class_names if name not in self.class_names]
        hint = f"{len(absent)} of {len(ids)} classes are not in it and get no score: {listed(absent)}"
        return replace(
            self,
            objects={
                image: [{**one, "category_id": ids[names[one["category_id"]]]} for one in entries]
                for image, entries in self.objects.items()
            },
            class_names=list(class_names),
            category_ids=list(category_ids),
            hints=[*self.hints, hint] if absent else self.hints,
        )
