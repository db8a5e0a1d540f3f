"""Masks as COCO writes them, polygons or run lengths: which are usable, and how they become pixels and back."""

from typing import Any, NamedTuple

import numpy as np
from faster_coco_eval import mask as rle

from cotnet.detection.coco.format import as_number, is_number

Segmentation = list[list[float]] | dict[str, Any]


class CheckedMask(NamedTuple):
    """What is usable of a ``segmentation``.

    Attributes:
        usable: Polygons or run lengths that can be decoded, or None.
        correction: What was corrected, or empty.
        reason: Why nothing or a part is not usable, or empty.
    """

    usable: Segmentation | None
    correction: str = ""
    reason: str = ""


def check_mask(segmentation: Any, height: int, width: int) -> CheckedMask:
    """The usable part of a ``segmentation``: polygons about the image, or run lengths of its size with a pixel in them.

    Args:
        segmentation: The value in an annotation.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    if isinstance(segmentation, list):
        return _check_polygons(segmentation, height, width)
    if isinstance(segmentation, dict):
        return _check_runs(segmentation, height, width)
    return CheckedMask(None, reason="no mask" if segmentation in (None, "") else "neither polygons nor run lengths")


def _check_polygons(parts: list[Any], height: int, width: int) -> CheckedMask:
    correction = ""
    if parts and all(as_number(value) is not None for value in parts):
        parts, correction = [parts], "flat lists of a mask taken as one polygon"
    # A decoder allocates a mask as large as the polygon.
    margin = max(height, width)
    usable, reason = [], "" if parts else "no mask"
    for part in parts:
        if isinstance(part, list) and part and all(isinstance(value, str) for value in part):
            part = [as_number(value) for value in part]
        if not isinstance(part, list) or not all(map(is_number, part)):
            reason = "a polygon that is no list of numbers"
        elif len(part) < 6 or len(part) % 2:
            reason = "a polygon of fewer than three corners or an odd count of numbers"
        elif not all(-margin <= value <= 2 * margin for value in part):
            reason = "a polygon far outside the image"
        else:
            usable.append(part)
    if usable and reason:
        correction = "masks of which some polygons were left out"
    return CheckedMask(usable or None, correction, reason)


def _check_runs(runs: dict[str, Any], height: int, width: int) -> CheckedMask:
    if runs.get("size") != [height, width]:
        return CheckedMask(None, reason=f"run lengths of the size {runs.get('size')!r:.40}, not {[height, width]}")
    counts = runs.get("counts")
    damaged = CheckedMask(None, reason="damaged run lengths")
    if isinstance(counts, list):
        if not all(isinstance(run, int) and not isinstance(run, bool) and run >= 0 for run in counts):
            return damaged
        if sum(counts) != height * width:
            return damaged
        return CheckedMask(runs) if any(counts[1::2]) else CheckedMask(None, reason="an empty mask")
    if not isinstance(counts, str):
        return damaged
    try:
        return CheckedMask(runs) if rle.decode(runs).any() else CheckedMask(None, reason="an empty mask")
    except (ValueError, RuntimeError):
        return damaged


def mask_box(segmentation: Segmentation, height: int, width: int) -> list[float]:
    """The box ``[x, y, width, height]`` around a usable ``segmentation``, in pixels."""
    if isinstance(segmentation, list):
        x = [value for part in segmentation for value in part[::2]]
        y = [value for part in segmentation for value in part[1::2]]
        return [min(x), min(y), max(x) - min(x), max(y) - min(y)]
    return [float(edge) for edge in rle.toBbox(rle.segmToRle(segmentation, width, height))]


def decode_mask(segmentation: Segmentation, height: int, width: int) -> np.ndarray:
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
