"""The default data: labelled patches of the photographs and micrographs that scikit-image installs.

Nothing is downloaded. Each image is one class. An image is divided into square cells; every fifth cell, counted so that
they spread over the image, is kept for validation. A patch never leaves its cell, so training and validation share no
pixel.
"""

import importlib.util
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cotnet.data.base import check_at_least
from cotnet.data.module import ImageDataModule, Labelled
from cotnet.data.readers import ArrayReader
from cotnet.data.transforms import Augment
from cotnet.files.image import open_image

# File names in scikit-image's data folder, the ones inside its wheel; the rest it would download on use.
IMAGES = {
    "brick": "brick.png",
    "cat": "chelsea.png",
    "cell": "cell.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "galaxies": "hubble_deep_field.jpg",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "moon": "moon.png",
    "page": "page.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
    "text": "text.png",
    "tissue": "ihc.png",
}
# Side of a cell in pixels: small enough for a score of cells in the smallest image, large enough for many places of a
# 32-pixel patch.
_CELL = 48


@dataclass(frozen=True)
class Patches:
    """Patches of one split.

    Attributes:
        pixels: uint8 [N, size, size, 3], normalised.
        labels: Class of each patch, an index into the sorted names of `IMAGES`.
        boxes: Left, top, right, bottom of each patch in its image.
    """

    pixels: np.ndarray
    labels: list[int]
    boxes: list[tuple[int, int, int, int]]


class BundledImages(ImageDataModule):
    """Patches of scikit-image's photographs and micrographs, one class per image; nothing is downloaded.

    Training and validation patches come from different cells of an image and share no pixel. Every channel of every
    patch has the same mean and contrast, so that mean colour hardly tells the class: `nearest_mean_colour_accuracy`
    gives the accuracy of that baseline. The patches are the same in every run.

    Args:
        train_per_class: Training patches of each image.
        val_per_class: Validation patches of each image.
        size: Side of a patch, and of the network input, in pixels, at most 48.
        batch_size: Patches per step and device.
        num_workers: Loader processes; the patches are in memory, so none is usual.
        augment: How training patches are changed.
        mean: Mean of each channel.
        std: Standard deviation of each channel.
        crop_pct: Fraction that the validation crop keeps.
        options: See `ImageDataModule`.

    Raises:
        ValueError: A number is outside its range; on use: scikit-image is not installed.
    """

    def __init__(
        self,
        *,
        train_per_class: int = 200,
        val_per_class: int = 40,
        size: int = 32,
        batch_size: int = 64,
        num_workers: int = 0,
        augment: Augment = "pad_crop",
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.16, 0.16, 0.16),
        crop_pct: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(
            size=size,
            batch_size=batch_size,
            num_workers=num_workers,
            augment=augment,
            mean=mean,
            std=std,
            crop_pct=crop_pct,
            **options,
        )
        check_at_least(train_per_class=(train_per_class, 1), val_per_class=(val_per_class, 1))
        if size > _CELL:
            raise ValueError(f"data.size must be at most {_CELL} for the bundled images, got {size}")
        self.train_per_class = train_per_class
        self.val_per_class = val_per_class

    @property
    def source(self) -> dict[str, Any]:
        return {"val_per_class": self.val_per_class}

    @property
    def order_fields(self) -> dict[str, Any]:
        return {"train_per_class": self.train_per_class}

    @property
    def class_names(self) -> list[str]:
        return sorted(IMAGES)

    @property
    def note(self) -> str:
        """The accuracy of a baseline, for the user to compare with."""
        accuracy = nearest_mean_colour_accuracy(self.train_patches, self.val_patches)
        return f"predicting the class of the nearest mean colour scores {100 * accuracy:.1f} %"

    @cached_property
    def train_patches(self) -> Patches:
        """The training patches."""
        return self._cut(train=True, per_class=self.train_per_class)

    @cached_property
    def val_patches(self) -> Patches:
        """The validation patches."""
        return self._cut(train=False, per_class=self.val_per_class)

    def train_images(self) -> Labelled:
        return ArrayReader(self.train_patches.pixels), self.train_patches.labels

    def val_images(self) -> Labelled:
        return ArrayReader(self.val_patches.pixels), self.val_patches.labels

    @cached_property
    def _images(self) -> dict[str, np.ndarray]:
        return open_images()

    def _cut(self, *, train: bool, per_class: int) -> Patches:
        return cut(self._images, train=train, per_class=per_class, size=self.size, cell=_CELL)


def installed_images() -> list[Path]:
    """The images that scikit-image has installed, in the order of their class names; none where it is missing."""
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        return []
    paths = [Path(found.origin).parent / "data" / IMAGES[name] for name in sorted(IMAGES)]
    return [path for path in paths if path.is_file()]


def open_images() -> dict[str, np.ndarray]:
    """The images by class name, uint8 [H, W, 3].

    Raises:
        ValueError: scikit-image is not installed, or came without the images.
    """
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise ValueError("the bundled images come with scikit-image, which is missing: pip install 'cotnet[train]'")
    folder = Path(found.origin).parent / "data"
    missing = [name for name in IMAGES.values() if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"scikit-image's folder {str(folder)!r} lacks {', '.join(missing)}: reinstall scikit-image")
    return {name: np.asarray(open_image(folder / IMAGES[name], name=IMAGES[name])) for name in sorted(IMAGES)}


def cut(images: dict[str, np.ndarray], *, train: bool, per_class: int, size: int, cell: int) -> Patches:
    """Cut patches at random places inside the cells of one split.

    Args:
        images: From `open_images`.
        train: Cut from the training cells, else from the validation cells.
        per_class: Patches per image.
        size: Side of a patch in pixels.
        cell: Side of a cell in pixels, at least `size`.
    """
    generator = np.random.default_rng(int(train))
    pixels, labels, boxes = [], [], []
    for label, image in enumerate(images.values()):
        corners = _corners(image.shape[0], image.shape[1], cell, train=train)
        for index in range(per_class):
            top, left = corners[index % len(corners)] + generator.integers(0, cell - size + 1, 2)
            pixels.append(image[top : top + size, left : left + size])
            labels.append(label)
            boxes.append((int(left), int(top), int(left) + size, int(top) + size))
    return Patches(normalise(np.stack(pixels)), labels, boxes)


def normalise(patches: np.ndarray) -> np.ndarray:
    """Bring every channel of every patch to mean 128 and standard deviation 40, uint8 [N, size, size, 3].

    So neither brightness nor colour tells the class. Near-flat channels are amplified thirteenfold at most.
    """
    values = patches.astype(np.float32)
    values *= 40 / np.maximum(values.std((1, 2), keepdims=True), 3)
    for _ in range(4):  # clipping moves the mean, so centre again
        values = (values + 128 - values.mean((1, 2), keepdims=True)).clip(0, 255)
    return values.round().astype(np.uint8)


def nearest_mean_colour_accuracy(train: Patches, val: Patches) -> float:
    """Share of validation patches whose mean colour is closest to their own class's training patches, 0 to 1."""
    labels = np.asarray(train.labels)
    colour = train.pixels.mean((1, 2))
    centres = np.stack([colour[labels == label].mean(0) for label in range(labels.max() + 1)])
    distance = np.linalg.norm(val.pixels.mean((1, 2))[:, None] - centres[None], axis=-1)
    return float((distance.argmin(1) == np.asarray(val.labels)).mean())


def _corners(height: int, width: int, cell: int, *, train: bool) -> np.ndarray:
    """Top-left corners of a split's cells, int [N, 2]."""
    return np.array(
        [
            (row * cell, column * cell)
            for row in range(height // cell)
            for column in range(width // cell)
            if ((row + 2 * column) % 5 != 0) == train
        ]
    )
