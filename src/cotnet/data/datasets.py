"""From something readable to a labelled tensor: the one dataset class that every data module serves."""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from cotnet.data.samplers import Draw, random_numbers
from cotnet.data.unreadable import Unreadable, UnreadableError
from cotnet.files.image import to_rgb, upright

# Images of a split that are decoded before a run: seconds for photographs, and most collections are smaller.
_CHECKED = 20_000


class ImageReader(Protocol):
    """Reads image ``index`` as 8-bit RGB; picklable, because loader workers receive a copy."""

    def __call__(self, index: int) -> Image.Image: ...

    def check(self, index: int) -> None:
        """Raise `UnreadableError` where image ``index`` cannot be read; cheaper than reading it."""

    def name(self, index: int) -> str:
        """What to call image ``index``: its file, or its number and where it lies."""


def unreadable_images(read: ImageReader, count: int, *, most: int = _CHECKED) -> Iterator[tuple[int, UnreadableError]]:
    """Find unreadable images before any work is done.

    Args:
        read: Reads the images.
        count: Number of images.
        most: Of a larger collection so many are checked, evenly spread.

    Yields:
        The index of an image that cannot be read, and the error that names it.
    """

    def check(index: int) -> tuple[int, UnreadableError] | None:
        try:
            read.check(index)
        except UnreadableError as error:
            return index, error
        return None

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # the decoders let go of the interpreter lock
        for found in pool.map(check, range(0, count, -(-count // most))):
            if found:
                yield found


def decode(source: Path | bytes, name: str, *, reduced: bool = False) -> Image.Image:
    """Decode one image from its first byte to its last.

    Args:
        source: A file, or the encoded bytes.
        name: What to call the image in an error message.
        reduced: At an eighth of the size where the format allows that, which takes a fraction of the time.

    Returns:
        The image in RGB, upright as its EXIF orientation says.

    Raises:
        UnreadableError: The source is no image, or is damaged; the message holds `name`.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            if reduced:
                image.draft("RGB", (1, 1))
            return to_rgb(upright(image))
    # Decoders raise whatever their format makes them stumble over: OSError, SyntaxError, struct.error, zlib.error ...
    except Exception as error:
        reason = "it is not an image" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise UnreadableError(f"cannot read the image {name}: {reason}; repair or remove it") from error


class FileReader:
    """Reads image files.

    Args:
        paths: Of the images, at least one.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        # One array: a million paths as objects would take half a gigabyte, and again in every loader worker.
        self._encoded = np.array([os.fsencode(path) for path in paths])

    def __call__(self, index: int) -> Image.Image:
        path = self._path(index)
        return decode(path, str(path))

    def check(self, index: int) -> None:
        decode(self._path(index), str(self._path(index)), reduced=True)

    def encoded(self, index: int) -> tuple[bytes, str]:
        """The file's bytes, and the suffix of its name."""
        path = self._path(index)
        return path.read_bytes(), path.suffix.lower().removeprefix(".")

    def name(self, index: int) -> str:
        return str(self._path(index))

    def _path(self, index: int) -> Path:
        return Path(os.fsdecode(self._encoded[index]))


class ArrayReader:
    """Reads images that are decoded already.

    Args:
        pixels: uint8 [n, H, W, 3].
    """

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __call__(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])

    def check(self, index: int) -> None:
        """Nothing can be wrong with it."""

    def name(self, index: int) -> str:
        return f"number {index}"


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """Labelled images.

    Args:
        read: Gives the image of an index.
        labels: Class index of every image.
        transform: Makes the network's input [3, H, W] of an image.
        tolerated: So many images may be unreadable. In training the next readable one, with its own label, takes the
            place of such an image.

    Attributes:
        unreadable: Those that are skipped.
    """

    def __init__(
        self,
        read: ImageReader,
        labels: Sequence[int],
        transform: Callable[[Any], Tensor],
        *,
        tolerated: int = 0,
    ) -> None:
        self.read = read
        self.labels = labels
        self.transform = transform
        self.unreadable = Unreadable(len(labels), tolerated=tolerated)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: int | Draw) -> tuple[Tensor, int]:
        """An image and its label; a `Draw` brings the random numbers with it."""
        if isinstance(draw, Draw):
            with random_numbers(draw):
                return self._get_or_next(draw.image)
        return self._get(draw)

    def name(self, index: int) -> str:
        """What to call an image."""
        return self.read.name(index)

    def _get(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.read(index)), int(self.labels[index])

    def _get_or_next(self, index: int) -> tuple[Tensor, int]:
        while True:
            if index not in self.unreadable:
                try:
                    return self._get(index)
                except UnreadableError as error:
                    self.unreadable.skip(index, error)
            index = (index + 1) % len(self)
