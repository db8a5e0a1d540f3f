"""The class of each pixel: from annotations, counted against answers, and drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faster_coco_eval import mask as rle
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image

from cotnet.detection.coco.masks import encode_mask
from cotnet.detection.drawing import class_color
from cotnet.files.atomic import replacing
from cotnet.training.figures import draw_confusion

BACKGROUND = "(background)"
IGNORED = 255
MAX_CLASSES = 254
_SAMPLES = 4
_GAP = 6  # pixels between the images of a sheet


def label_map(target: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
    """The class of each pixel, uint8 [H, W]: 0 where no object is; where objects overlap, that of the smaller one.

    Args:
        target: ``labels`` [M] from 1 and ``masks`` [M, H, W]; also ``crowd_labels`` and ``crowd_masks`` where there are
            some, which count as objects.
        size: H and W.
    """
    classes, masks = target["labels"], target["masks"].bool()
    if "crowd_masks" in target:
        classes = torch.cat([classes, target["crowd_labels"]])
        masks = torch.cat([masks, target["crowd_masks"].bool()])
    labels = torch.zeros(size, dtype=torch.uint8, device=masks.device)
    for index in masks.flatten(1).sum(1).argsort(descending=True).tolist():
        labels[masks[index]] = int(classes[index])
    return labels


def mean_iou(counts: Tensor) -> tuple[float, list[float]]:
    """Intersection over union.

    Args:
        counts: Pixels by true class and answer, [classes, classes].

    Returns:
        The mean over the classes that occur, and that of each class; NaN for a class that never occurs.
    """
    counts = counts.double()
    right = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - right
    each = torch.where(union > 0, right / union, torch.nan)
    return float(each.nanmean()), each.tolist()


class PixelTally(nn.Module):
    """Counts pixels by true class and answer over a validation, and keeps the first images.

    Args:
        classes: Number of classes with the background, which is class 0.

    Attributes:
        counts: Pixels by true class and answer, [classes, classes].
        images: The number of images that this process has counted.
        samples: Image, annotation and answer of the first ones.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.counts: Tensor
        self.register_buffer("counts", torch.zeros(classes, classes, dtype=torch.int64), persistent=False)
        self.reset()

    def reset(self) -> None:
        """Forget what was counted."""
        self.counts.zero_()
        self.images = 0
        self.samples: list[tuple[Tensor, Tensor, Tensor]] = []

    def update(self, batch: tuple[list[Tensor], list[dict[str, Tensor]]], answers: Sequence[Tensor]) -> None:
        """Count the pixels of a batch.

        Args:
            batch: Images [3, H, W] and their targets.
            answers: The class of each pixel, uint8 [H, W] for each image.
        """
        classes = len(self.counts)
        for image, target, answer in zip(*batch, answers, strict=True):
            truth = label_map(target, (image.shape[-2], image.shape[-1])).to(answer.device)
            pairs = (truth.long() * classes + answer).flatten()
            self.counts += torch.bincount(pairs, minlength=classes**2).view_as(self.counts)
            self.images += 1
            if len(self.samples) < _SAMPLES:
                self.samples.append((image.cpu(), truth.cpu(), answer.cpu()))

    def reduce(self) -> None:
        """Add up the counts of all processes."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(self.counts)

    def draw(self, class_names: Sequence[str], folder: Path) -> None:
        """Draw ``confusion.png``, and ``samples.jpg`` with images above their annotations above the answers.

        Args:
            class_names: Names of the classes, without the background.
            folder: Where to write.
        """
        names = [BACKGROUND, *class_names]
        title = f"mean IoU {mean_iou(self.counts)[0]:.1%}"
        draw_confusion(self.counts.cpu().numpy(), names, folder / "confusion.png", title=title)
        columns = [
            [to_pil_image(image), *(paint(to_pil_image(image), x.numpy()) for x in (truth, answer))]
            for image, truth, answer in self.samples
        ]
        width = max(tile.width for column in columns for tile in column) + _GAP
        height = max(tile.height for column in columns for tile in column) + _GAP
        sheet = Image.new("RGB", (len(columns) * width - _GAP, 3 * height - _GAP), "white")
        for x, column in enumerate(columns):
            for y, tile in enumerate(column):
                sheet.paste(tile, (x * width, y * height))
        with replacing(folder / "samples.jpg") as partial:
            sheet.save(partial, format="JPEG", quality=85)


def palette(classes: int) -> list[tuple[int, int, int]]:
    """A colour for each class; black for the background, class 0.

    Args:
        classes: Number of classes with the background.
    """
    return [(0, 0, 0), *(class_color(label) for label in range(classes - 1))]


def describe_classes(class_names: Sequence[str], category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """What each value of an `index_image` means: the class's name, its colour, and the category's id in the data.

    Args:
        class_names: Names of the classes, without the background.
        category_ids: The id of each class.
    """
    names, ids = [BACKGROUND, *class_names], [None, *category_ids]
    colors = palette(len(names))
    return [
        {"value": value, "name": name, "category_id": category, "color": list(color)}
        for value, (name, category, color) in enumerate(zip(names, ids, colors, strict=True))
    ]


def paint(image: Image.Image, labels: np.ndarray) -> Image.Image:
    """A copy of an image in which every pixel of an object is tinted in the colour of its class.

    Args:
        image: In RGB, of H x W pixels.
        labels: The class of each pixel, uint8 [H, W].
    """
    canvas = image.copy()
    for label in np.unique(labels).tolist():
        if label > 0:
            tint = Image.new("RGB", canvas.size, class_color(label - 1))
            canvas.paste(tint, mask=Image.fromarray(((labels == label) * 140).astype(np.uint8)))
    return canvas


def index_image(labels: np.ndarray, classes: int) -> Image.Image:
    """An image with a palette: the value of each pixel is its class.

    Args:
        labels: The class of each pixel, uint8 [H, W].
        classes: Number of classes with the background.
    """
    image = Image.fromarray(labels).convert("P")
    image.putpalette([value for color in palette(classes) for value in color])
    return image


def regions(labels: np.ndarray, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """The pixels of each class in an image as an entry of COCO's format: run lengths, their area, and their box.

    Args:
        labels: The class of each pixel, uint8 [H, W]; class k, from 1, is ``category_ids[k - 1]``.
        category_ids: The id of each class.
    """
    entries = []
    for label in np.unique(labels).tolist():
        if label > 0:
            mask = encode_mask(labels == label)
            entries.append(
                {
                    "category_id": category_ids[label - 1],
                    "bbox": [float(edge) for edge in rle.toBbox(mask)],
                    "area": int(rle.area(mask)),
                    "segmentation": mask,
                }
            )
    return entries
