"""What the header of an encoded image says: its size, and how its EXIF orientation turns it."""

import io
import warnings
from typing import NamedTuple

from PIL import ExifTags, Image

from cotnet.files.image import UnreadableImageError


class Header(NamedTuple):
    """The header of an image.

    Attributes:
        width: In pixels, as stored.
        height: In pixels, as stored.
        orientation: The EXIF orientation: 1 is upright, from 5 on width and height are swapped.
    """

    width: int
    height: int
    orientation: int


def read_header(content: bytes) -> Header:
    """The header of an image, without decoding its pixels.

    Raises:
        UnreadableImageError: It is no image; the message is the reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's advice on odd files
            with Image.open(io.BytesIO(content)) as image:
                width, height = image.size
                return Header(width, height, _orientation(image))
    # Decoders raise errors of many types on damaged files.
    except Exception as error:
        reason = "it is not an image" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise UnreadableImageError(" ".join(reason.split()) or type(error).__name__) from error


def read_size(content: bytes, *, apply_orientation: bool) -> dict[str, int]:
    """``width`` and ``height`` of an image in pixels, as stored or upright; errors as of `read_header`."""
    width, height, orientation = read_header(content)
    if apply_orientation and orientation >= 5:
        width, height = height, width
    return {"width": width, "height": height}


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    # Damaged EXIF data raise errors of many types, and the pixels may be intact all the same.
    except Exception:
        return 1
    return value if value in range(1, 9) else 1
