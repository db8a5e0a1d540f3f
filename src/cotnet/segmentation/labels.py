"""Each pixel's class: the truth of an image, how often answers meet it, and images of both."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faster_coco_eval import mask as rle
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image

from cotnet.detection.drawing import color_of
from cotnet.training.figures import draw_confusion

BACKGROUND = "(background)"
IGNORED = 255
MOST_CLASSES = 254
_SAMPLES = 4


def label_map(target: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
    """Each pixel's class, uint8 [H, W]: 0 where no object is; of objects over one another the smaller one's.

    Args:
        target: `labels` [M] from 1 and `masks` [M, H, W]; perhaps `crowd_labels` and `crowd_masks`, which count, too.
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
    """Intersection over union from pixels by true class and answer, [classes, classes].

    Returns:
        The mean over the classes that occur, and each class's; NaN where one occurs neither in truth nor answer.
    """
    counts = counts.double()
    right = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - right
    each = torch.where(union > 0, right / union, torch.nan)
    return float(each.nanmean()), each.tolist()


class PixelTally(nn.Module):
    """Counts pixels by true class and answer over a validation, and keeps the first images.

    Args:
        classes: with the background, which is class 0.

    Attributes:
        counts: [classes, classes].
        images: how many were compared, by this process.
        samples: image, truth and answer of the first ones.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.counts: Tensor
        self.register_buffer("counts", torch.zeros(classes, classes, dtype=torch.int64), persistent=False)
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.counts.zero_()
        self.images = 0
        self.samples: list[tuple[Tensor, Tensor, Tensor]] = []

    def update(self, batch: tuple[list[Tensor], list[dict[str, Tensor]]], answers: Sequence[Tensor]) -> None:
        """Count a batch of images [3, H, W] with their targets, against answers uint8 [H, W]."""
        classes = len(self.counts)
        for image, target, answer in zip(*batch, answers, strict=True):
            truth = label_map(target, (image.shape[-2], image.shape[-1])).to(answer.device)
            pairs = (truth.long() * classes + answer).flatten()
            self.counts += torch.bincount(pairs, minlength=classes**2).view_as(self.counts)
            self.images += 1
            if len(self.samples) < _SAMPLES:
                self.samples.append((image.cpu(), truth.cpu(), answer.cpu()))

    def reduce(self) -> None:
        """Add up what all processes have counted."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(self.counts)

    def draw(self, class_names: Sequence[str], folder: Path) -> None:
        """Draw `confusion.png`, and `samples.jpg`: images above their truth above the answer.

        Args:
            class_names: without the background.
            folder: for the images.
        """
        names = [BACKGROUND, *class_names]
        title = f"mean IoU {mean_iou(self.counts)[0]:.1%}"
        draw_confusion(self.counts.cpu().numpy(), names, folder / "confusion.png", title=title)
        rows = [
            [to_pil_image(image), *(paint(to_pil_image(image), x.numpy()) for x in (truth, answer))]
            for image, truth, answer in self.samples
        ]
        wide = max(tile.width for row in rows for tile in row)
        tall = max(tile.height for row in rows for tile in row)
        sheet = Image.new("RGB", (len(rows) * (wide + 6) - 6, 3 * (tall + 6) - 6), "white")
        for column, row in enumerate(rows):
            for line, tile in enumerate(row):
                sheet.paste(tile, (column * (wide + 6), line * (tall + 6)))
        partial = folder / "samples.jpg.partial"
        sheet.save(partial, format="JPEG", quality=85)
        partial.replace(folder / "samples.jpg")


def palette(classes: int) -> list[tuple[int, int, int]]:
    """A colour for each class; black for the background, class 0.

    Args:
        classes: with the background.
    """
    return [(0, 0, 0), *(color_of(label) for label in range(classes - 1))]


def describe_classes(class_names: Sequence[str], category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """What each pixel's value means in an `index_image`: its name, its colour, and the category's id in the data."""
    names, ids = [BACKGROUND, *class_names], [None, *category_ids]
    colors = palette(len(names))
    return [
        {"value": value, "name": name, "category_id": category, "color": list(color)}
        for value, (name, category, color) in enumerate(zip(names, ids, colors, strict=True))
    ]


def paint(image: Image.Image, labels: np.ndarray) -> Image.Image:
    """A copy of an image in RGB with every object pixel tinted in its class's colour.

    Args:
        image: of H x W pixels.
        labels: uint8 [H, W].
    """
    canvas = image.copy()
    for label in np.unique(labels).tolist():
        if label > 0:
            tint = Image.new("RGB", canvas.size, color_of(label - 1))
            canvas.paste(tint, mask=Image.fromarray(((labels == label) * 140).astype(np.uint8)))
    return canvas


def index_image(labels: np.ndarray, classes: int) -> Image.Image:
    """Labels as an image with a palette: each pixel's value is its class, its colour the class's.

    Args:
        labels: uint8 [H, W].
        classes: with the background.
    """
    image = Image.fromarray(labels).convert("P")
    image.putpalette([value for color in palette(classes) for value in color])
    return image


def regions(labels: np.ndarray, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """The pixels of each class in an image as an entry of COCO's format: run lengths, their area, the box around them.

    Args:
        labels: uint8 [H, W]; label k, from 1, is `category_ids[k - 1]`.
        category_ids: the id of each class.
    """
    entries = []
    for label in np.unique(labels).tolist():
        if label > 0:
            coded = rle.encode(np.asfortranarray(labels == label, np.uint8))
            counts = coded["counts"]
            entries.append(
                {
                    "category_id": category_ids[label - 1],
                    "bbox": [float(edge) for edge in rle.toBbox(coded)],
                    "area": int(rle.area(coded)),
                    "segmentation": {
                        "size": list(coded["size"]),
                        "counts": counts.decode() if isinstance(counts, bytes) else counts,
                    },
                }
            )
    return entries
