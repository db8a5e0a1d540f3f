"""The annotations of a set in COCO's format, checked against its images as they are read."""

import math
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from cotnet.detection.coco.archive import Files, join_inside
from cotnet.detection.coco.format import clip_box, is_id, is_number, load_content
from cotnet.detection.coco.masks import is_mask

_NAMED = 5

Entry = dict[str, Any]


@dataclass
class CocoAnnotations:
    """The usable content of an annotation file.

    Attributes:
        images: Entries of ``images``, each with ``id``, ``file_name``, ``height``, ``width``.
        objects: Usable annotations by the image's id, each box ``[x, y, width, height]`` inside its image.
        category_ids: The file's ids of the categories, in order; label k, from 1, is ``category_ids[k - 1]``.
        class_names: Their names.
        problems: Names of what was left out or corrected, by kind.
        source: The annotation file.
        folder: The folder of the images, which their ``file_name`` is relative to.
    """

    images: list[Entry]
    objects: dict[int, list[Entry]]
    category_ids: list[int]
    class_names: list[str]
    problems: dict[str, list[str]] = field(default_factory=dict)
    source: str = ""
    folder: str = ""

    def report(self) -> str:
        """One line for each kind of problem, with its count and the first names; empty where there is none."""
        lines = []
        for kind, names in self.problems.items():
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            lines.append(f"{self.source}: {len(names)} {kind}: {', '.join(map(_printable, names[:_NAMED]))}{more}")
        return "\n".join(lines)

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


def read_coco(files: Files, annotations: str, folder: str, *, masks: bool = False) -> CocoAnnotations:
    """Read an annotation file and check it against the images.

    Left out, counted and named: annotations of unknown images or categories, repeated ones, images that are missing
    or have the id of another, boxes without area or wholly outside their image, and, where masks are wanted, objects
    without one. A box that reaches over the edge is cut, an unusable area is taken from the box; both are counted.
    Images without objects stay: they teach the background.

    Args:
        files: The files of the set.
        annotations: Name of the JSON with ``images``, ``annotations``, ``categories``.
        folder: The folder that each ``file_name`` is relative to; none may lead out of it.
        masks: Every object needs a polygon or run lengths of its image's size.

    Raises:
        ValueError: The file is not such JSON, or nothing in it can be used.
    """
    source = f"{files.root}/{annotations}"
    content = load_content(files, annotations, source)
    problems: defaultdict[str, list[str]] = defaultdict(list)
    images = _present_images(content["images"], files, folder, problems)
    if not images:
        raise ValueError(f"{source}: none of its {len(content['images'])} images is in {folder}/")
    categories = _sorted_categories(content["categories"], source)
    objects = _usable_objects(content, images, masks=masks, problems=problems)
    if not any(objects.values()):
        because = "".join(f"; {len(names)} {kind}" for kind, names in problems.items())
        raise ValueError(f"{source}: it has no usable annotation{because}")
    return CocoAnnotations(
        images,
        objects,
        category_ids=[category["id"] for category in categories],
        class_names=[str(category["name"]) for category in categories],
        problems=dict(problems),
        source=source,
        folder=folder,
    )


def _present_images(
    entries: Sequence[Entry], files: Files, folder: str, problems: defaultdict[str, list[str]]
) -> list[Entry]:
    images, taken = [], set()
    for image in entries:
        path = join_inside(folder, image["file_name"])
        if path is None:
            problems["images outside the folder left out"].append(image["file_name"])
        elif image["id"] in taken:
            problems["images with the id of another left out"].append(image["file_name"])
        elif files.exists(path):
            taken.add(image["id"])
            images.append(image)
        else:
            problems["missing images left out"].append(image["file_name"])
    return images


def _sorted_categories(entries: Sequence[Entry], source: str) -> list[Entry]:
    categories = sorted(entries, key=lambda category: category["id"])
    for one, other in pairwise(categories):
        if one["id"] == other["id"]:
            raise ValueError(f"{source}: the categories {one['name']} and {other['name']} have the same id {one['id']}")
    return categories


def _usable_objects(
    content: Entry, images: Sequence[Entry], *, masks: bool, problems: defaultdict[str, list[str]]
) -> dict[int, list[Entry]]:
    """The annotations of the images that are there, by the image's id."""
    categories = {category["id"] for category in content["categories"]}
    known = {image["id"] for image in content["images"]}
    present = {image["id"]: image for image in images}
    objects: dict[int, list[Entry]] = {image["id"]: [] for image in images}
    seen: dict[int, list[Entry]] = {}
    for annotation in content["annotations"]:
        name = f"annotation {annotation.get('id', '?')}"
        same_id = seen.setdefault(annotation["id"], []) if is_id(annotation.get("id")) else []
        if annotation in same_id:
            problems["repeated annotations left out"].append(name)
            continue
        if same_id:
            problems["annotations with the id of another kept"].append(name)
        same_id.append(annotation)
        if annotation["image_id"] not in known:
            problems["annotations of unknown images left out"].append(name)
        elif annotation["category_id"] not in categories:
            kind = "annotations of unknown categories left out"
            problems[kind].append(f"{name} of category {annotation['category_id']}")
        elif annotation["image_id"] not in present:
            problems["annotations of images that were left out"].append(name)
        else:
            image = present[annotation["image_id"]]
            checked = _check_object(annotation, image, name, masks=masks, problems=problems)
            if checked is not None:
                objects[image["id"]].append(checked)
    return objects


def _check_object(
    annotation: Entry, image: Entry, name: str, *, masks: bool, problems: defaultdict[str, list[str]]
) -> Entry | None:
    """The annotation with its box inside the image and a usable area; None where it is left out."""
    named = f"{name} in {image['file_name']}"
    box = clip_box(annotation["bbox"], image)
    if box is None:
        kind = "boxes of no area or outside their image left out"
        problems[kind].append(f"{name} {annotation['bbox']} in {image['file_name']}")
        return None
    if masks and not is_mask(annotation.get("segmentation"), image):
        problems["objects without a usable mask left out"].append(named)
        return None
    if max(abs(a - b) for a, b in zip(box, annotation["bbox"], strict=True)) > 1:
        problems["boxes over the edge cut"].append(named)
    area = annotation.get("area", box[2] * box[3])
    if not (is_number(area) and 0 < area < math.inf):
        problems["unusable areas taken from the box"].append(named)
        area = box[2] * box[3]
    return {**annotation, "bbox": box, "area": area, "iscrowd": int(annotation.get("iscrowd") or 0)}


def _printable(name: str) -> str:
    """A name that any terminal can show."""
    return name[:120].encode("utf-8", "backslashreplace").decode()
