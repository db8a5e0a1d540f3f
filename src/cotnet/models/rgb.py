"""Any picture as the 8-bit RGB that networks take."""

import numpy as np
from PIL import Image, ImageOps


def to_rgb(picture: Image.Image) -> Image.Image:
    """The picture in 8-bit RGB; greys deeper than 8 bits, as micrographs have, are scaled where Pillow would clip them.

    Args:
        picture: of any mode. Integers end at 65,535, floats at 1; those beyond, at the largest of the picture.
    """
    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
        return picture.convert("RGB")
    values = np.nan_to_num(np.asarray(picture, np.float64))
    if picture.mode.startswith("I;16"):
        top = 65535.0
    else:
        largest = values.max()
        known = (1.0, 255.0, 65535.0) if picture.mode == "F" else (255.0, 65535.0)
        top = next((bound for bound in known if largest <= bound), largest)
    return Image.fromarray((255 * values / top).round().clip(0, 255).astype(np.uint8)).convert("RGB")


def upright(picture: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says; as it is where that says nothing or is damaged."""
    try:
        return ImageOps.exif_transpose(picture)
    # Readers of damaged EXIF data stumble in any way, and the pixels may be sound all the same.
    except Exception:
        return picture
