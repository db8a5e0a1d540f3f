"""The annotations of a set in COCO's format, checked against its images as they are read."""

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch

from cotnet.detection.coco.archive import Files
from cotnet.detection.coco.boxes import clip_box, guess_form
from cotnet.detection.coco.format import Entry, Problems, is_finite, listed, load_content, printable
from cotnet.detection.coco.header import read_size
from cotnet.detection.coco.locate import ImageFinder, find_folder
from cotnet.detection.coco.masks import check_mask, mask_box
from cotnet.detection.coco.voc import load_voc
from cotnet.detection.coco.yolo import load_yolo
from cotnet.files.image import UnreadableImageError


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
        unreadable: Sentences on images that cannot be read and have no size in the file; they are left out.
        source: The annotation file.
        upright: Whether the file says that it refers to images turned upright by their EXIF orientation.
    """

    images: list[Entry]
    objects: dict[int, list[Entry]]
    category_ids: list[int]
    class_names: list[str]
    problems: dict[str, list[str]] = field(default_factory=dict)
    hints: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
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
        return replace(parts[0], problems={}, hints=[]), replace(parts[1], problems={}, hints=[])

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


def read_coco(
    files: Files,
    annotations: str,
    folder: str | None = None,
    *,
    masks: bool = False,
    apply_orientation: bool | None = None,
) -> CocoAnnotations:
    """Read an annotation file and check it against the images.

    What cannot be used is left out, what can be understood is corrected; both are counted and named, see
    docs/detection.md. Images without objects stay: they teach the background.

    Args:
        files: The files of the set.
        annotations: Name of the JSON with ``images``, ``annotations``, ``categories``; or a folder of images with
            labels in YOLO's format, a folder of Pascal VOC's XML files, or a list of ``ImageSets/Main``.
        folder: The folder that each ``file_name`` is relative to; None to find it.
        masks: Every object needs a polygon or run lengths of its image's size.
        apply_orientation: Annotations refer to images turned upright by their EXIF orientation; None for what the file
            says, else for the pixels as they are stored.

    Raises:
        ValueError: The file is not such JSON, or nothing in it can be used.
    """
    problems: Problems = defaultdict(list)
    content = _load(files, annotations, problems)
    source = files.path(annotations)
    info = content.get("info")
    if apply_orientation is None:
        apply_orientation = isinstance(info, dict) and info.get("image_orientation") == "upright"
    folder = content.get("folder") or folder or find_folder(files, annotations, content["images"])
    finder = ImageFinder(files, folder, annotations, problems)
    images, unreadable = _present_images(content["images"], finder, apply_orientation, problems)
    if not images and not unreadable:
        first = content["images"][0]["file_name"]
        raise ValueError(
            f"{source}: none of its {len(content['images'])} images is in {finder.folder}/: the first one, "
            f"{printable(first)}, is missing; {finder.nearby()}"
        )
    categories = _usable_categories(content, source, problems)
    objects, hints = _usable_objects(content, images, masks=masks, problems=problems)
    if not any(objects.values()) and not unreadable:
        because = "".join(f"; {len(names)} {kind}" for kind, names in problems.items())
        raise ValueError(f"{source}: it has no usable annotation{because}")
    return CocoAnnotations(
        images,
        objects,
        category_ids=[category["id"] for category in categories],
        class_names=[category["name"] for category in categories],
        problems=dict(problems),
        hints=hints,
        unreadable=unreadable,
        source=source,
        upright=apply_orientation,
    )


def _load(files: Files, name: str, problems: Problems) -> Entry:
    """The content of annotations in the plain form of COCO's format, whatever form they are in."""
    if name.endswith(".json"):
        return load_content(files, name, problems)
    if name.endswith(".txt") or any(other.startswith(f"{name}/") and other.endswith(".xml") for other in files.names):
        return load_voc(files, name)
    if files.exists(name):
        return load_content(files, name, problems)
    return load_yolo(files, name)


def _present_images(
    entries: Sequence[Entry], finder: ImageFinder, apply_orientation: bool, problems: Problems
) -> tuple[list[Entry], list[str]]:
    """The entries of the images that are there, with their paths and sizes; and what is wrong with unreadable ones."""
    by_id: defaultdict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_id[entry["id"]].append(entry)
    distinct = []
    for same in by_id.values():
        if len({entry["file_name"] for entry in same}) == 1:
            distinct.append(same[0])
            for entry in same[1:]:
                problems["repeated images left out"].append(entry["file_name"])
        else:  # which of them the annotations belong to cannot be known
            for entry in same:
                problems["images with the id of another left out"].append(entry["file_name"])
    images, unreadable = [], []
    for entry, path in zip(distinct, finder.find([entry["file_name"] for entry in distinct]), strict=True):
        if path is None:
            continue
        if entry["width"] is None:
            try:
                entry |= read_size(finder.files.read(path), apply_orientation=apply_orientation)
            except (UnreadableImageError, OSError) as error:
                unreadable.append(f"image {finder.files.path(path)} cannot be read: {error}")
                continue
            problems["images without a usable size, which was read from them"].append(entry["file_name"])
        images.append({**entry, "path": path})
    return images, unreadable


def _usable_categories(content: Entry, source: str, problems: Problems) -> list[Entry]:
    """The categories by their ids, each name once."""
    used = {annotation["category_id"] for annotation in content["annotations"]}
    parents = {category.get("supercategory") for category in content["categories"]}
    categories: dict[int, Entry] = {}
    by_name: dict[str, int] = {}
    for category in sorted(content["categories"], key=lambda category: (category["id"], category["name"])):
        identity, name = category["id"], category["name"]
        if identity in categories:
            other = categories[identity]["name"]
            if other != name:
                raise ValueError(f"{source}: the categories {other} and {name} have the same id {identity}")
            problems["repeated categories left out"].append(name)
            continue
        if name in by_name:
            other_id = by_name[name]
            unused = [one for one in (other_id, identity) if one not in used]
            if name not in parents or not unused:
                raise ValueError(
                    f"{source}: the categories {other_id} and {identity} have the same name {printable(name)}; "
                    "rename one of them, or give their annotations the same category_id"
                )
            # Roboflow writes the project's name as a parent of all classes, which may be the name of one of them.
            problems["unused parents with the name of a category left out"].append(f"{name} with the id {unused[0]}")
            if unused[0] == identity:
                continue
            del categories[other_id]
        categories[identity], by_name[name] = category, identity
    return list(categories.values())


def _usable_objects(
    content: Entry, images: Sequence[Entry], *, masks: bool, problems: Problems
) -> tuple[dict[int, list[Entry]], list[str]]:
    """The annotations of the images that are there, by the image's id; and hints on all of them together."""
    categories = {category["id"] for category in content["categories"]}
    known = {image["id"] for image in content["images"]}
    present = {image["id"]: image for image in images}
    objects: dict[int, list[Entry]] = {image["id"]: [] for image in images}
    boxes = []
    for annotation in _distinct(content["annotations"], problems):
        name = f"annotation {annotation.get('id', '?')}"
        if annotation["image_id"] not in known:
            problems["annotations of unknown images left out"].append(name)
        elif annotation["category_id"] not in categories:
            kind = "annotations of unknown categories left out"
            problems[kind].append(f"{name} of category {annotation['category_id']}")
        elif annotation["image_id"] not in present:
            problems["annotations of images that were left out"].append(name)
        else:
            image = present[annotation["image_id"]]
            if annotation["bbox"] is not None:
                boxes.append((annotation["bbox"], image))
            checked = _check_object(annotation, image, name, masks=masks, problems=problems)
            if checked is not None:
                objects[image["id"]].append(checked)
    hints = [hint] if (hint := guess_form(boxes)) else []
    flags = [one["iscrowd"] for entries in objects.values() for one in entries]
    if flags and all(flags):
        hints.append("every annotation has iscrowd 1, and a detector learns nothing from crowds")
    return objects, hints


def _distinct(annotations: Sequence[Entry], problems: Problems) -> Iterable[Entry]:
    """The annotations without word-for-word repetitions."""
    seen: dict[int, list[Entry]] = {}
    for annotation in annotations:
        name = f"annotation {annotation.get('id', '?')}"
        same_id = seen.setdefault(annotation["id"], []) if isinstance(annotation.get("id"), int) else []
        if annotation in same_id:
            problems["repeated annotations left out"].append(name)
            continue
        if same_id:
            problems["annotations with the id of another kept"].append(name)
        same_id.append(annotation)
        yield annotation


def _check_object(annotation: Entry, image: Entry, name: str, *, masks: bool, problems: Problems) -> Entry | None:
    """The annotation with its box inside the image, a usable area and mask; None where it is left out."""
    named, height, width = f"{name} in {image['file_name']}", image["height"], image["width"]
    checked = dict(annotation)
    if masks or annotation["bbox"] is None:
        mask = check_mask(annotation.get("segmentation"), height, width)
        checked["segmentation"] = mask.usable
    box = annotation["bbox"]
    if box is None and mask.usable is not None:
        box = mask_box(mask.usable, height, width)
        problems["boxes taken from their masks"].append(named)
    if box is None:
        problems["objects without a box or a usable mask left out"].append(f"{named} ({mask.reason})")
        return None
    clipped = clip_box(box, width, height)
    if clipped is None:
        kind = "boxes of no area or outside their image left out"
        problems[kind].append(f"{name} {_short(box)} in {image['file_name']}")
        return None
    if masks and mask.usable is None:
        problems["objects without a usable mask left out"].append(f"{named} ({mask.reason})")
        return None
    if masks and mask.correction:
        problems[mask.correction].append(f"{named} ({mask.reason})" if mask.reason else named)
    if max(abs(a - b) for a, b in zip(clipped, box, strict=True)) > 1:
        problems["boxes over the edge cut"].append(named)
    area = annotation.get("area", clipped[2] * clipped[3])
    if not (is_finite(area) and area > 0):
        problems["unusable areas taken from the box"].append(named)
        area = clipped[2] * clipped[3]
    return {**checked, "bbox": clipped, "area": area}


def _short(box: Sequence[float]) -> str:
    return f"[{', '.join(f'{edge:g}' for edge in box)}]"
