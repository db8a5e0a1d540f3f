"""Any image as the 8-bit RGB that networks take."""

import numpy as np
from PIL import Image, ImageOps


def to_rgb(image: Image.Image) -> Image.Image:
    """The image in 8-bit RGB; greys deeper than 8 bits, as micrographs have, are scaled where Pillow would clip them.

    Args:
        image: of any mode. Integers end at 65,535, floats at 1; those beyond, at the largest of the image.
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
    """The image turned as its EXIF orientation says; as it is where that says nothing or is damaged."""
    try:
        return ImageOps.exif_transpose(image)
    # Readers of damaged EXIF data stumble in any way, and the pixels may be sound all the same.
    except Exception:
        return image
