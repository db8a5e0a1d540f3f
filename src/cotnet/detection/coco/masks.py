"""Masks as COCO writes them, polygons or run lengths: which are usable, and how they become pixels and back."""

from typing import Any

import numpy as np
from faster_coco_eval import mask as rle

from cotnet.detection.coco.format import is_id, is_number


def is_mask(segmentation: Any, image: dict[str, Any]) -> bool:
    """Whether a ``segmentation`` is polygons of at least three corners about the image, or run lengths of its size.

    Args:
        segmentation: The value in an annotation.
        image: The image's entry.
    """
    height, width = image["height"], image["width"]
    if isinstance(segmentation, list):
        margin = max(height, width)  # a decoder allocates a mask as large as the polygon
        return segmentation != [] and all(
            isinstance(part, list)
            and len(part) >= 6
            and len(part) % 2 == 0
            and all(is_number(x) and -margin <= x <= 2 * margin for x in part)
            for part in segmentation
        )
    if not isinstance(segmentation, dict) or segmentation.get("size") != [height, width]:
        return False
    counts = segmentation.get("counts")
    if isinstance(counts, list):
        return all(is_id(run) and run >= 0 for run in counts) and sum(counts) == height * width and any(counts[1::2])
    if not isinstance(counts, str):
        return False
    try:
        return bool(rle.decode(segmentation).any())
    except (ValueError, RuntimeError):
        return False


def decode_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """The pixels of a usable ``segmentation``, uint8 [H, W] of 0 and 1.

    Args:
        segmentation: Polygons or run lengths.
        height: H in pixels.
        width: W in pixels.
    """
    return np.asarray(rle.decode(rle.segmToRle(segmentation, width, height))).reshape(height, width)


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """A mask [H, W] as compressed run lengths that JSON can hold: ``size`` and ``counts``."""
    coded = rle.encode(np.asfortranarray(mask, np.uint8))
    counts = coded["counts"]
    return {"size": list(coded["size"]), "counts": counts.decode() if isinstance(counts, bytes) else counts}
