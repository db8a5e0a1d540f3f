"""Where images come from: files, encoded bytes or arrays, each read by its index."""

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cotnet.files.image import UnreadableImageError, check_image, open_image, suffix_of
from cotnet.files.machine import available_cpus

# Images of a split that are decoded before a run: seconds for photographs, and most collections are smaller.
_CHECKED = 20_000


class ImageReader(ABC):
    """Reads images by their index; picklable, because loader workers receive a copy."""

    @abstractmethod
    def __call__(self, index: int) -> Image.Image:
        """The image in 8-bit RGB, upright.

        Raises:
            UnreadableImageError: It cannot be decoded; the message names it.
        """

    @abstractmethod
    def name(self, index: int) -> str:
        """The name of an image in messages: its file, or its number and where it is from."""

    @abstractmethod
    def check(self, index: int) -> list[str]:
        """What is worth knowing of an image, see `cotnet.files.image.check_image`; cheaper than reading it.

        Raises:
            UnreadableImageError: It cannot be decoded; the message names it.
        """

    def encoded(self, index: int) -> tuple[bytes, str]:
        """The bytes of an image as it is stored and the suffix of its format, such as ``jpg``; else a PNG of it."""
        out = io.BytesIO()
        self(index).save(out, "PNG")
        return out.getvalue(), "png"


class EncodedReader(ImageReader):
    """Reads images that are stored as encoded bytes.

    Args:
        decoding: Arguments of `cotnet.files.image.open_image`.
    """

    def __init__(self, decoding: Mapping[str, Any] | None = None) -> None:
        self.decoding = dict(decoding or {})

    @abstractmethod
    def content(self, index: int) -> bytes:
        """The encoded bytes.

        Raises:
            UnreadableImageError: They cannot be read; the message names the image.
        """

    def __call__(self, index: int) -> Image.Image:
        return open_image(self.content(index), name=self.name(index), **self.decoding)

    def check(self, index: int) -> list[str]:
        return check_image(self.content(index), name=self.name(index), **self.decoding)

    def encoded(self, index: int) -> tuple[bytes, str]:
        content = self.content(index)
        return content, suffix_of(content)


class FileReader(ImageReader):
    """Reads image files.

    Args:
        paths: Paths of the images, at least one.
        decoding: Arguments of `cotnet.files.image.open_image`.
    """

    def __init__(self, paths: Sequence[str], decoding: Mapping[str, Any] | None = None) -> None:
        self.decoding = dict(decoding or {})
        # One array: a million paths as objects would take half a gigabyte, and again in every loader worker.
        self._encoded = np.array([os.fsencode(path) for path in paths])

    def __call__(self, index: int) -> Image.Image:
        return open_image(self.name(index), name=self.name(index), **self.decoding)

    def check(self, index: int) -> list[str]:
        return check_image(self.name(index), name=self.name(index), **self.decoding)

    def encoded(self, index: int) -> tuple[bytes, str]:
        path = Path(self.name(index))
        return path.read_bytes(), path.suffix.lower().removeprefix(".")

    def name(self, index: int) -> str:
        return os.fsdecode(self._encoded[index])


class ArrayReader(ImageReader):
    """Reads images that are decoded already.

    Args:
        pixels: uint8 [n, H, W, 3].
    """

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __call__(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])

    def check(self, index: int) -> list[str]:
        """Nothing; pixels in memory are always readable."""
        return []

    def name(self, index: int) -> str:
        return f"number {index}"


def inspect_images(
    read: ImageReader, count: int, *, limit: int = _CHECKED
) -> Iterator[tuple[int, list[str] | UnreadableImageError]]:
    """Decode images before any work is done.

    Args:
        read: Reads the images.
        count: Number of images.
        limit: The number of images to check at most; of a larger collection these are evenly spread.

    Yields:
        The index of an image with the remarks on it, or with the error that names it where it cannot be read.
    """

    def check(index: int) -> tuple[int, list[str] | UnreadableImageError]:
        try:
            return index, read.check(index)
        except UnreadableImageError as error:
            return index, error

    with ThreadPoolExecutor(min(8, available_cpus())) as pool:  # the decoders let go of the interpreter lock
        yield from pool.map(check, range(0, count, -(-count // limit)))
