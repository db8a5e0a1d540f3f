"""Images from files and bytes: which names are images, and how any image is decoded to 8-bit RGB."""

import io
import os
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

# Of Pillow's formats those that hold photographs and scans. One list for every command.
SUFFIXES = frozenset(
    [
        ".apng",
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".j2k",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".mpo",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tga",
        ".tif",
        ".tiff",
        ".webp",
    ]
)


class UnreadableImageError(ValueError):
    """An image cannot be decoded; the message is the reason, and with `named` a whole sentence."""

    @classmethod
    def named(cls, name: str, reason: object) -> "UnreadableImageError":
        """The error with a sentence that names the image, the reason and the way out."""
        return cls(f"cannot read the image {name}: {reason}; repair or remove it")


def is_image_name(name: str) -> bool:
    """Whether a file name has a suffix of `SUFFIXES` and is not hidden."""
    base = os.path.basename(name)
    return os.path.splitext(base)[1].lower() in SUFFIXES and not base.startswith(".")


def open_image(
    source: str | Path | bytes | BinaryIO,
    *,
    name: str | None = None,
    apply_orientation: bool = True,
    reduced: bool = False,
) -> Image.Image:
    """Decode one image from its first byte to its last.

    Args:
        source: A path, the encoded bytes, or a file that is open for reading.
        name: Name of the image for the error message.
        apply_orientation: Turn the image upright as its EXIF orientation says.
        reduced: At an eighth of the size where the format allows that, which takes a fraction of the time.

    Returns:
        The image in 8-bit RGB.

    Raises:
        UnreadableImageError: It is no image, or is damaged; the message is a whole sentence with ``name``, and without
            a name the reason alone.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's advice on odd files that it reads all the same
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                if reduced:
                    image.draft("RGB", (1, 1))
                return to_rgb(upright(image) if apply_orientation else image)
    # Decoders raise errors of many types on damaged files: OSError, SyntaxError, struct.error, zlib.error ...
    except Exception as error:
        reason = "it is not an image" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        reason = " ".join(reason.split()) or type(error).__name__
        raise (UnreadableImageError.named(name, reason) if name else UnreadableImageError(reason)) from error


def suffix_of(content: bytes) -> str:
    """The suffix of the format of encoded bytes, such as ``jpg``; ``bin`` where it is unknown."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            kind = (image.format or "bin").lower()
    except OSError:
        return "bin"
    return {"jpeg": "jpg", "tiff": "tif"}.get(kind, kind)


def to_rgb(image: Image.Image) -> Image.Image:
    """The image in 8-bit RGB; greys deeper than 8 bits, as micrographs have, are scaled where Pillow would clip them.

    Args:
        image: An image of any mode. Integers end at 65,535, floats at 1; larger ones, at the largest of the image.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image.convert("RGB")
    values = np.nan_to_num(np.asarray(image, np.float64))
    if image.mode.startswith("I;16"):
        top = 65535.0
    else:
        largest = values.max()
        known = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        top = next((bound for bound in known if largest <= bound), largest)
    return Image.fromarray((255 * values / top).round().clip(0, 255).astype(np.uint8)).convert("RGB")


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says, or unchanged where there is none or it is damaged."""
    try:
        return ImageOps.exif_transpose(image)
    # Damaged EXIF data raise errors of many types, and the pixels may be intact all the same.
    except Exception:
        return image
