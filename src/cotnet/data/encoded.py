"""Images as the bytes that they are stored as, for copying without decoding."""

import io
from typing import Any

from PIL import Image


def encoded(read: Any, index: int) -> tuple[bytes, str]:
    """The bytes of an image and the suffix of its format, such as ``jpg``.

    Args:
        read: A `cotnet.data.datasets.ImageReader`. Best one with a method ``encoded``; of others it becomes a PNG.
        index: Which image.
    """
    if hasattr(read, "encoded"):
        return read.encoded(index)
    out = io.BytesIO()
    read(index).save(out, "PNG")
    return out.getvalue(), "png"


def suffix_of(content: bytes) -> str:
    """The suffix of the format of encoded bytes, ``bin`` where it is unknown."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            kind = (image.format or "bin").lower()
    except OSError:
        return "bin"
    return {"jpeg": "jpg", "tiff": "tif"}.get(kind, kind)
