"""Labelled patches from the photographs and micrographs that scikit-image installs; nothing is downloaded.

Each image is one class. An image is divided into square cells; every fifth cell, counted so that they spread over
the image, is kept for validation. A patch never leaves its cell, so training and validation share no pixel.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cotnet.data.datasets import decode

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


@dataclass(frozen=True)
class Patches:
    """Patches of one split.

    Attributes:
        pixels: uint8 [n, size, size, 3], normalised.
        labels: Class of each patch, an index into the sorted names of `IMAGES`.
        boxes: Left, top, right, bottom of each patch in its image.
    """

    pixels: np.ndarray
    labels: list[int]
    boxes: list[tuple[int, int, int, int]]


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
        raise ValueError("the embedded images come with scikit-image, which is missing: pip install 'cotnet[train]'")
    folder = Path(found.origin).parent / "data"
    missing = [name for name in IMAGES.values() if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"scikit-image's folder {str(folder)!r} lacks {', '.join(missing)}: reinstall scikit-image")
    return {name: np.asarray(decode(folder / IMAGES[name], IMAGES[name])) for name in sorted(IMAGES)}


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
    """Bring every channel of every patch to mean 128 and standard deviation 40, uint8 [n, size, size, 3].

    So neither brightness nor colour tells the image. Near-flat channels are amplified thirteenfold at most.
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
    """Top-left corners of a split's cells, int [n, 2]."""
    return np.array(
        [
            (row * cell, column * cell)
            for row in range(height // cell)
            for column in range(width // cell)
            if ((row + 2 * column) % 5 != 0) == train
        ]
    )
