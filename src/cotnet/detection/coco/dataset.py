"""Images with boxes and masks in COCO's format, one target dict for each image."""

from collections.abc import Callable, Container, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms.v2.functional import to_dtype, to_image

from cotnet.data.samplers import Draw, random_numbers
from cotnet.detection.coco.annotations import CocoAnnotations
from cotnet.detection.coco.archive import Files
from cotnet.detection.coco.header import read_header
from cotnet.detection.coco.masks import decode_mask
from cotnet.files.image import UnreadableImageError, open_image

Batch = tuple[list[Tensor], list[dict[str, Tensor]]]


class CocoDataset(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Images [3, H, W] in 0 to 1, with their targets.

    A target holds ``boxes`` [M, 4] (x1, y1, x2, y2 in pixels), ``labels`` [M] from 1, ``image_id``, and with masks
    ``masks`` [M, H, W]. A crowd stands for many objects at once and is no example of one, so crowds are left out of
    these; with masks they are ``crowd_masks`` [C, H, W] and ``crowd_labels`` [C].

    Args:
        annotations: Read by `read_coco`, with ``masks`` where masks are wanted.
        files: The files that they were read from.
        masks: Decode the masks, too.
        transform: Changes image and target, as torchvision's transforms v2 do.
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
        self._labels = {category: label for label, category in enumerate(annotations.category_ids, 1)}

    def __len__(self) -> int:
        return len(self.annotations.images)

    @property
    def aspect_ratios(self) -> list[float]:
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
            "labels": self._labels_of(objects),
            "image_id": torch.tensor(entry["id"]),
        }
        if self.masks:
            crowds = [one for one in self.annotations.objects[entry["id"]] if one.get("iscrowd", 0)]
            target["masks"] = _masks(objects, size)
            target["crowd_masks"] = _masks(crowds, size)
            target["crowd_labels"] = self._labels_of(crowds)
        if self.transform is not None:
            image, target = self.transform(image, target)
        plain = {name: value.as_subclass(Tensor) for name, value in target.items()}
        return to_dtype(image, torch.float32, scale=True).as_subclass(Tensor), plain

    def _labels_of(self, objects: Sequence[dict[str, Any]]) -> Tensor:
        return torch.tensor([self._labels[one["category_id"]] for one in objects], dtype=torch.int64)

    def only(self, ids: Container[int]) -> "CocoDataset":
        """The dataset of some images.

        Args:
            ids: The ids of the images to keep.
        """
        return CocoDataset(self.annotations.only(ids), self.files, masks=self.masks, transform=self.transform)

    def name(self, index: int) -> str:
        """The path of an image, in the folder or the archive."""
        return self.files.path(self.annotations.images[index]["path"])

    def open(self, index: int) -> Image.Image:
        """Decode an image, as it is stored or upright, whichever its annotations refer to.

        Raises:
            ValueError: It cannot be read, or has another size than its annotation says; the message names it.
        """
        return self._decode(index, self._read(index))

    def check(self, index: int) -> bool:
        """Decode an image and say whether it has an EXIF orientation that turns it; errors as of `open`."""
        content = self._read(index)
        self._decode(index, content)
        return read_header(content).orientation != 1

    def _read(self, index: int) -> bytes:
        try:
            return self.files.read(self.annotations.images[index]["path"])
        except OSError as error:
            raise ValueError(f"image {self.name(index)} cannot be read: {error}") from error

    def _decode(self, index: int, content: bytes) -> Image.Image:
        entry, name = self.annotations.images[index], self.name(index)
        try:
            image = open_image(content, apply_orientation=self.annotations.upright)
        except UnreadableImageError as error:
            raise ValueError(f"image {name} cannot be read: {error}") from error
        if image.size == (entry["width"], entry["height"]):
            return image
        advice = ""
        if image.size == (entry["height"], entry["width"]) and read_header(content).orientation >= 5:
            other = "false" if self.annotations.upright else "true"
            advice = f"; its EXIF orientation turns it: pass --data.apply_orientation {other}"
        raise ValueError(
            f"image {name} has {image.width} x {image.height} pixels, {self.annotations.source} says "
            f"{entry['width']} x {entry['height']}{advice}"
        )


def collate(items: Sequence[tuple[Tensor, dict[str, Tensor]]]) -> Batch:
    """A batch as detectors take it: images of any size in a list, targets in another."""
    return [image for image, _ in items], [target for _, target in items]


def _boxes(objects: Sequence[dict[str, Any]], size: tuple[int, int]) -> tv_tensors.BoundingBoxes:
    boxes = torch.tensor([one["bbox"] for one in objects], dtype=torch.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size)


def _masks(objects: Sequence[dict[str, Any]], size: tuple[int, int]) -> tv_tensors.Mask:
    height, width = size
    masks = torch.zeros((len(objects), height, width), dtype=torch.uint8)
    for mask, one in zip(masks, objects, strict=True):
        mask.copy_(torch.from_numpy(decode_mask(one["segmentation"], height, width)))
    return tv_tensors.Mask(masks)
