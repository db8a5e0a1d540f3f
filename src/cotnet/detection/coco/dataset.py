"""Images with boxes and masks in COCO's format: annotations checked as they are read, one target dict an image."""

import io
import math
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from faster_coco_eval import mask as rle
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms.v2.functional import to_dtype, to_image

from cotnet.data.samplers import Draw, random_numbers
from cotnet.detection.coco.archive import Files, inner
from cotnet.detection.coco.format import inside, is_id, is_mask, is_number, load_content
from cotnet.files.image import to_rgb

_NAMED = 5


@dataclass
class CocoAnnotations:
    """What an annotation file says of the images in a folder, without what cannot be used.

    Attributes:
        images: entries of `images`, each with `id`, `file_name`, `height`, `width`.
        objects: usable annotations by the image's id, each box `[x, y, width, height]` inside its image.
        category_ids: the file's ids of the categories, in order; label k, from 1, is `category_ids[k - 1]`.
        class_names: their names.
        problems: what was left out or mended, by kind: the things' names.
        source: the annotation file.
        folder: of the images, which their `file_name`s are relative to.
    """

    images: list[dict[str, Any]]
    objects: dict[int, list[dict[str, Any]]]
    category_ids: list[int]
    class_names: list[str]
    problems: dict[str, list[str]] = field(default_factory=dict)
    source: str = ""
    folder: str = ""

    def report(self) -> str:
        """One line for each kind of problem: how many, and the first of them by name; empty where all is well."""
        lines = []
        for kind, names in self.problems.items():
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            lines.append(f"{self.source}: {len(names)} {kind}: {', '.join(map(_shown, names[:_NAMED]))}{more}")
        return "\n".join(lines)

    def only(self, ids: Container[int]) -> "CocoAnnotations":
        """The same of these images alone."""
        images = [image for image in self.images if image["id"] in ids]
        return replace(self, images=images, objects={image["id"]: self.objects[image["id"]] for image in images})

    def leave_out(self, indices: Iterable[int]) -> None:
        """Forget these images and their objects."""
        gone = set(indices)
        for index in gone:
            del self.objects[self.images[index]["id"]]
        self.images = [image for index, image in enumerate(self.images) if index not in gone]


def read_coco(files: Files, annotations: str, folder: str, *, masks: bool = False) -> CocoAnnotations:
    """Read an annotation file and check it against the images.

    Left out, counted and named: annotations of unknown images or categories, repeated ones, images that are not
    there or have the id of another, boxes of no area or wholly outside their image, and, where masks are wanted,
    objects without one. A box that reaches over the edge is cut, an area that is none taken from the box; both are
    counted. Images without objects stay: they teach what is background.

    Args:
        files: holds the annotations and the images.
        annotations: name of the JSON with `images`, `annotations`, `categories`.
        folder: that the `file_name`s are relative to; none may lead out of it.
        masks: every object needs a polygon or run lengths of its image's size.

    Raises:
        ValueError: the file is not such JSON, or nothing in it can be used.
    """
    source = f"{files.root}/{annotations}"
    content = load_content(files, annotations, source)
    problems: dict[str, list[str]] = {}
    images, taken = [], set()
    for image in content["images"]:
        path = inner(folder, image["file_name"])
        if path is None:
            problems.setdefault("images outside the folder left out", []).append(image["file_name"])
        elif image["id"] in taken:
            problems.setdefault("images with the id of another left out", []).append(image["file_name"])
        elif files.exists(path):
            taken.add(image["id"])
            images.append(image)
        else:
            problems.setdefault("missing images left out", []).append(image["file_name"])
    if not images:
        raise ValueError(f"{source}: none of its {len(content['images'])} images is in {folder}/")
    categories = sorted(content["categories"], key=lambda category: category["id"])
    for one, next_one in pairwise(categories):
        if one["id"] == next_one["id"]:
            raise ValueError(
                f"{source}: the categories {one['name']} and {next_one['name']} have the same id {one['id']}"
            )
    known, present = {category["id"] for category in categories}, {image["id"]: image for image in images}
    everywhere = {image["id"] for image in content["images"]}
    objects: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in images}
    seen: dict[Any, list[dict[str, Any]]] = {}
    for annotation in content["annotations"]:
        name = f"annotation {annotation.get('id', '?')}"
        alike = seen.setdefault(annotation["id"], []) if is_id(annotation.get("id")) else []
        if annotation in alike:
            problems.setdefault("repeated annotations left out", []).append(name)
            continue
        if alike:
            problems.setdefault("annotations with the id of another kept", []).append(name)
        alike.append(annotation)
        if annotation["image_id"] not in everywhere:
            problems.setdefault("annotations of unknown images left out", []).append(name)
        elif annotation["category_id"] not in known:
            kind = "annotations of unknown categories left out"
            problems.setdefault(kind, []).append(f"{name} of category {annotation['category_id']}")
        elif annotation["image_id"] in present:
            image = present[annotation["image_id"]]
            box = inside(annotation["bbox"], image)
            if box is None:
                kind = "boxes of no area or outside their image left out"
                problems.setdefault(kind, []).append(f"{name} {annotation['bbox']} in {image['file_name']}")
                continue
            if masks and not is_mask(annotation.get("segmentation"), image):
                problems.setdefault("objects without a usable mask left out", []).append(
                    f"{name} in {image['file_name']}"
                )
                continue
            if max(abs(a - b) for a, b in zip(box, annotation["bbox"], strict=True)) > 1:
                problems.setdefault("boxes over the edge cut", []).append(f"{name} in {image['file_name']}")
            area = annotation.get("area", box[2] * box[3])
            if not (is_number(area) and 0 < area < math.inf):
                problems.setdefault("areas that are none taken from the box", []).append(
                    f"{name} in {image['file_name']}"
                )
                area = box[2] * box[3]
            crowd = int(annotation.get("iscrowd") or 0)
            objects[image["id"]].append({**annotation, "bbox": box, "area": area, "iscrowd": crowd})
        else:
            problems.setdefault("annotations of images that were left out", []).append(name)
    if not any(objects.values()):
        raise ValueError(f"{source}: it has no usable annotation{_because(problems)}")
    ids, names = [c["id"] for c in categories], [str(c["name"]) for c in categories]
    return CocoAnnotations(images, objects, ids, names, problems, source, folder)


class CocoDataset(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Images [3, H, W] in 0 to 1, with their targets.

    A target holds `boxes` [M, 4] (x1, y1, x2, y2 in pixels), `labels` [M] from 1, `image_id`, and with masks `masks`
    [M, H, W]. Crowds stand for many objects at once and are no examples of one, so they are left out of these; with
    masks they are `crowd_masks` [C, H, W] and `crowd_labels` [C].

    Args:
        annotations: read by `read_coco`, with `masks` where masks are wanted.
        files: that they were read from.
        masks: decode the masks, too.
        transform: of image and target, in the manner of torchvision's transforms v2.
    """

    def __init__(
        self,
        annotations: CocoAnnotations,
        files: Files,
        *,
        masks: bool = False,
        transform: Callable[[Any, Any], tuple[Any, Any]] | None = None,
    ) -> None:
        self.annotations, self.files, self.masks, self.transform = annotations, files, masks, transform
        self._label = {category: label for label, category in enumerate(annotations.category_ids, 1)}

    def __len__(self) -> int:
        return len(self.annotations.images)

    @property
    def aspects(self) -> list[float]:
        """Width by height of each image."""
        return [entry["width"] / entry["height"] for entry in self.annotations.images]

    def __getitem__(self, which: int | Draw) -> tuple[Tensor, dict[str, Tensor]]:
        if isinstance(which, int):
            return self._item(which)
        with random_numbers(which):
            return self._item(which.image)

    def _item(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        entry = self.annotations.images[index]
        image = tv_tensors.Image(to_image(self.open(index)))
        size = (entry["height"], entry["width"])
        objects = [one for one in self.annotations.objects[entry["id"]] if not one.get("iscrowd", 0)]
        target = {
            "boxes": _boxes(objects, size),
            "labels": self._labels(objects),
            "image_id": torch.tensor(entry["id"]),
        }
        if self.masks:
            crowds = [one for one in self.annotations.objects[entry["id"]] if one.get("iscrowd", 0)]
            target["masks"] = _masks(objects, size)
            target["crowd_masks"] = _masks(crowds, size)
            target["crowd_labels"] = self._labels(crowds)
        if self.transform is not None:
            image, target = self.transform(image, target)
        plain = {name: value.as_subclass(Tensor) for name, value in target.items()}
        return to_dtype(image, torch.float32, scale=True).as_subclass(Tensor), plain

    def _labels(self, objects: Sequence[dict[str, Any]]) -> Tensor:
        return torch.tensor([self._label[one["category_id"]] for one in objects], dtype=torch.int64)

    def only(self, ids: Container[int]) -> "CocoDataset":
        """The same of these images alone."""
        return CocoDataset(self.annotations.only(ids), self.files, masks=self.masks, transform=self.transform)

    def name(self, index: int) -> str:
        """Where an image lies."""
        return f"{self.files.root}/{inner(self.annotations.folder, self.annotations.images[index]['file_name'])}"

    def open(self, index: int) -> Image.Image:
        """Decode an image as it is stored, which annotations refer to, whatever its EXIF orientation says.

        Raises:
            ValueError: it cannot be read, or has another size than its annotation says; the message names it.
        """
        entry, path = self.annotations.images[index], self.name(index)
        try:
            content = self.files.read(inner(self.annotations.folder, entry["file_name"]) or "")
            with Image.open(io.BytesIO(content)) as file:
                image = to_rgb(file)
        # Decoders raise whatever their format makes them stumble over.
        except Exception as error:
            reason = "it is not an image" if isinstance(error, Image.UnidentifiedImageError) else str(error)
            raise ValueError(f"image {path} cannot be read: {reason}") from error
        if image.size != (entry["width"], entry["height"]):
            width, height = image.size
            turned = image.size == (entry["height"], entry["width"])
            raise ValueError(
                f"image {path} has {width} x {height} pixels, {self.annotations.source} says "
                f"{entry['width']} x {entry['height']}"
                + ("; an EXIF orientation does not count in a COCO set" if turned else "")
            )
        return image


def collate(items: Sequence[tuple[Tensor, dict[str, Tensor]]]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """A batch as detectors take it: images of any size in a list, targets in another."""
    return [image for image, _ in items], [target for _, target in items]


def _shown(name: str) -> str:
    """A name as a terminal can show it."""
    return name[:120].encode("utf-8", "backslashreplace").decode()


def _because(problems: dict[str, list[str]]) -> str:
    return "".join(f"; {len(names)} {kind}" for kind, names in problems.items())


def _boxes(objects: Sequence[dict[str, Any]], size: tuple[int, int]) -> tv_tensors.BoundingBoxes:
    boxes = torch.tensor([one["bbox"] for one in objects], dtype=torch.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size)


def _masks(objects: Sequence[dict[str, Any]], size: tuple[int, int]) -> tv_tensors.Mask:
    height, width = size
    masks = torch.zeros((len(objects), height, width), dtype=torch.uint8)
    for mask, one in zip(masks, objects, strict=True):
        mask.copy_(
            torch.from_numpy(rle.decode(rle.segmToRle(one["segmentation"], width, height)).reshape(height, width))
        )
    return tv_tensors.Mask(masks)
