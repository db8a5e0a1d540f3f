"""Images from files and bytes: which names are images, and how any image is decoded to 8-bit RGB."""

import importlib
import importlib.util
import io
import os
import warnings
from functools import cache
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps

from cotnet.files.pixels import UnusablePixelsError, ValueRange, deep_mode, describe_depth, to_rgb

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
# Formats that Pillow reads with a package, and its name on the index.
PACKAGES = {".heic": "pillow-heif", ".heif": "pillow-heif"}
_REPAIR = "repair or remove it"
# Environment variable with the largest number of pixels that an image may have.
MAX_PIXELS = "COTNET_MAX_PIXELS"


class UnreadableImageError(ValueError):
    """An image cannot be decoded; the message is the reason, and with `named` a whole sentence.

    Attributes:
        extent: The range that the values need, where they are outside the default one of their type.
    """

    extent: ValueRange | None = None

    @classmethod
    def named(cls, name: str, reason: object, advice: str = _REPAIR) -> "UnreadableImageError":
        """The error with a sentence that names the image, the reason and the way out."""
        return cls(f"cannot read the image {name}: {reason}; {advice}")


def is_image_name(name: str) -> bool:
    """Whether a file name has the suffix of a format that can be read, and is not hidden."""
    base = os.path.basename(name)
    suffix = os.path.splitext(base)[1].lower()
    return (suffix in SUFFIXES or (suffix in PACKAGES and _is_installed())) and not base.startswith(".")


def open_image(
    source: str | Path | bytes | BinaryIO,
    *,
    name: str | None = None,
    apply_orientation: bool = True,
    value_range: ValueRange | None = None,
    max_pixels: int | None = None,
) -> Image.Image:
    """Decode one image from its first byte to its last; of several frames or pages the first.

    Args:
        source: A path, the encoded bytes, or a file that is open for reading.
        name: Name of the image for the error message.
        apply_orientation: Turn the image upright as its EXIF orientation says.
        value_range: The values that become black and white in images deeper than 8 bits, see `to_rgb`.
        max_pixels: The largest number of pixels that an image may have; by default that of the environment variable
            ``COTNET_MAX_PIXELS``, or else Pillow's 178,956,970.

    Returns:
        The image in 8-bit RGB.

    Raises:
        UnreadableImageError: It is no image, is damaged, or has unusable pixels; the message is a whole sentence with
            ``name``, and without a name the reason alone.
    """
    return _decode(source, name, value_range=value_range, max_pixels=max_pixels, apply_orientation=apply_orientation)[0]


def check_image(
    source: str | Path | bytes | BinaryIO,
    *,
    name: str | None = None,
    value_range: ValueRange | None = None,
    max_pixels: int | None = None,
) -> list[str]:
    """Decode one image as `open_image` does, but as cheaply as its format allows.

    Returns:
        What is worth knowing of it, each as the rest of a sentence about several images: more than 8 bits, several
        frames.

    Raises:
        UnreadableImageError: As for `open_image`.
    """
    return _decode(source, name, value_range=value_range, max_pixels=max_pixels, reduced=True)[1]


def suffix_of(content: bytes) -> str:
    """The suffix of the format of encoded bytes, such as ``jpg``; ``bin`` where it is unknown."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            kind = (image.format or "bin").lower()
    except OSError:
        return "bin"
    return {"jpeg": "jpg", "tiff": "tif"}.get(kind, kind)


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says, or unchanged where there is none or it is damaged."""
    try:
        return ImageOps.exif_transpose(image)
    # Damaged EXIF data raise errors of many types, and the pixels may be intact all the same.
    except Exception:
        return image


def _decode(
    source: str | Path | bytes | BinaryIO,
    name: str | None,
    *,
    value_range: ValueRange | None,
    max_pixels: int | None,
    apply_orientation: bool = True,
    reduced: bool = False,
) -> tuple[Image.Image, list[str]]:
    """The image, and the remarks on it of `check_image`."""
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's advice on odd files that it reads all the same
            with _open(file, max_pixels) as image:
                remarks = _remarks(image, value_range)
                if reduced:  # JPEG is decoded at an eighth of its size in a fraction of the time
                    image.draft("RGB", (1, 1))
                return to_rgb(upright(image) if apply_orientation else image, value_range=value_range), remarks
    # Decoders raise errors of many types on damaged files: OSError, SyntaxError, struct.error, zlib.error ...
    except Exception as error:
        reason, advice = _explain(error, file)
        alone = reason if advice == _REPAIR else f"{reason}; {advice}"
        failure = UnreadableImageError(alone) if name is None else UnreadableImageError.named(name, reason, advice)
        failure.extent = error.extent if isinstance(error, UnusablePixelsError) else None
        raise failure from error


def _open(file: str | Path | BinaryIO, max_pixels: int | None) -> Image.Image:
    limit = max_pixels or int(os.environ.get(MAX_PIXELS) or 0)
    if limit and Image.MAX_IMAGE_PIXELS is not None:  # Pillow's limit is one for the process; it is only ever raised
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, limit)
    try:
        image = Image.open(file)
    except Image.UnidentifiedImageError:
        if not (_is_heif(file) and _is_installed()):
            raise
        importlib.import_module("pillow_heif").register_heif_opener()
        image = Image.open(file)
    if limit and image.width * image.height > limit:
        image.close()
        raise Image.DecompressionBombError(f"{image.width * image.height} pixels exceed the limit of {limit}")
    return image


def _explain(error: Exception, file: str | Path | BinaryIO) -> tuple[str, str]:
    """Why an image cannot be decoded, and the way out."""
    if isinstance(error, UnusablePixelsError):
        return error.reason, error.advice
    if isinstance(error, Image.DecompressionBombError):
        return (
            f"it is larger than images may be ({' '.join(str(error).split())})",
            f"raise the limit by --data.max_pixels or by the environment variable {MAX_PIXELS}",
        )
    if isinstance(error, Image.UnidentifiedImageError):
        if _is_heif(file):
            return "it is in HEIC format", f"convert it, or pip install {PACKAGES['.heic']}"
        if _head(file)[:4] in (b"II*\0", b"MM\0*"):
            return "its kind of TIFF is not supported, such as 64-bit pixels", "save it with 8, 16 or 32 bits"
        return "it is not an image", _REPAIR
    return " ".join(str(error).split()) or type(error).__name__, _REPAIR


def _remarks(image: Image.Image, value_range: ValueRange | None) -> list[str]:
    remarks = []
    mode = deep_mode(image)
    if mode is not None:
        remarks.append(f"hold {describe_depth(mode, value_range)}")
    # The further images of a camera's MPO file are previews or depth maps of the first.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        remarks.append("have several frames or pages, of which the first is used")
    return remarks


def _is_heif(file: str | Path | BinaryIO) -> bool:
    head = _head(file)
    return head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


def _head(file: str | Path | BinaryIO) -> bytes:
    if isinstance(file, (str, Path)):
        with open(file, "rb") as opened:
            return opened.read(12)
    file.seek(0)
    return file.read(12)


@cache
def _is_installed() -> bool:
    return importlib.util.find_spec("pillow_heif") is not None
