"""The images that a user names: paths found in folders, archives and globs, and images that are in memory already."""

import glob
import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from cotnet.files.image import SUFFIXES, is_image_name, open_image, to_rgb
from cotnet.files.listing import SkippedFiles, images_below


class InputFiles(Iterable[str]):
    """Paths of the images that files, folders (searched through), tar archives and globs name, each once, in order.

    An image in an archive is named ``ARCHIVE.tar/NAME``. Of a folder or a glob, files with an image's ending are taken;
    a glob that matches none of those gives what it matches. The paths are looked for anew whenever they are iterated
    over, and never all held at a time.

    Args:
        words: Files, folders, archives and globs.

    Attributes:
        skipped: Counts what the last iteration has left out.

    Raises:
        FileNotFoundError: A word names nothing.
        ValueError: A folder or an archive holds no images.
    """

    def __init__(self, words: Sequence[str]):
        self.words = words
        self.skipped = SkippedFiles()
        for word in words:
            if next(_named_by(word, SkippedFiles()), None) is not None:
                continue
            if Path(word).exists():
                kind = "folder" if Path(word).is_dir() else "archive"
                raise ValueError(f"{kind} {word} holds no images ({', '.join(sorted(SUFFIXES))})")
            raise FileNotFoundError(f"{word} is no file or folder, and as a pattern it matches nothing")

    def __iter__(self) -> Iterator[str]:
        seen: set[str] = set()
        self.skipped = SkippedFiles()
        for word in self.words:
            for path in _named_by(word, self.skipped):
                if len(self.words) == 1:  # a word alone names nothing twice
                    yield path
                elif path not in seen:
                    seen.add(path)
                    yield path


def _named_by(word: str, skipped: SkippedFiles) -> Iterator[str]:
    path = Path(word)
    if path.is_dir():
        yield from images_below(str(path), skipped)
    elif path.suffix == ".tar" and path.is_file():
        yield from (f"{word}/{name}" for name in _images_among(_members(word), skipped))
    elif path.exists():
        yield word
    else:
        files = sorted({p for p in glob.iglob(word, recursive=True) if os.path.isfile(p)})
        yield from _images_among(files, skipped) if any(map(is_image_name, files)) else files


def _images_among(names: Iterable[str], skipped: SkippedFiles) -> Iterator[str]:
    for name in names:
        if is_image_name(name):
            yield name
        else:
            skipped.add_file(name)


@cache
def _members(archive: str) -> dict[str, tuple[int, int]]:
    """Where each file of a tar archive begins, and its length."""
    try:
        with tarfile.open(archive) as tar:
            return {member.name: (member.offset_data, member.size) for member in tar if member.isreg()}
    except tarfile.TarError as error:
        raise ValueError(f"cannot read the archive {archive}: {error}") from error


def read_image(source: Any, *, name: str | None = None, **decoding: Any) -> Image.Image:
    """One image in RGB, upright as its EXIF orientation says.

    Args:
        source: A path, also of an image in an archive as `InputFiles` names it; encoded bytes; an image of Pillow; an
            array [H, W] or [H, W, 1, 3 or 4]; a tensor [H, W] or [1, 3 or 4, H, W]. Arrays and tensors hold bytes, or
            floats from 0 to 1.
        name: Name of the image for the error message; default the path.
        decoding: Further arguments of `cotnet.files.image.open_image`.

    Raises:
        UnreadableImageError: It cannot be decoded; the message is a whole sentence.
        TypeError: It is none of these.
        ValueError: It has another shape or type.
    """
    if isinstance(source, (str, Path)):
        return open_image(_file(str(source)), name=name or str(source), **decoding)
    if isinstance(source, bytes):
        return open_image(source, name=name or "in memory", **decoding)
    if isinstance(source, Tensor):
        source = source.detach().cpu()
        source = (source.permute(1, 2, 0) if source.ndim == 3 else source).numpy()
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return to_rgb(source)
    raise TypeError(f"an image is a path, bytes, or an image of Pillow, NumPy or torch, got a {type(source).__name__}")


def _from_array(pixels: np.ndarray) -> Image.Image:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)) or 0 in pixels.shape:
        raise ValueError(f"an array is an image as [H, W] or [H, W, 3], a tensor as [3, H, W]; got {pixels.shape}")
    if np.issubdtype(pixels.dtype, np.floating):
        if not (pixels.min() >= 0 and pixels.max() <= 1):  # so that NaN is refused, too
            raise ValueError(f"floats are an image's from 0 to 1, got {pixels.min():g} to {pixels.max():g}")
        pixels = (255 * pixels).round().astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise ValueError(f"an image's pixels are uint8 or floats from 0 to 1, got {pixels.dtype}")
    return to_rgb(Image.fromarray(pixels))


def _file(path: str) -> str | io.BytesIO:
    """What Pillow opens: the path, or the bytes of an image in an archive."""
    archive, inside, name = path.partition(".tar/")
    if not inside or Path(path).exists():
        return path
    offset, size = _members(f"{archive}.tar")[name]
    with open(f"{archive}.tar", "rb") as file:
        file.seek(offset)
        return io.BytesIO(file.read(size))
