"""Every image of a set decoded once, before anything is trained."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from cotnet.detection.coco.dataset import CocoDataset
from cotnet.detection.coco.format import listed
from cotnet.files.machine import available_cpus

_PROGRESS_S = 10  # seconds between lines of progress


def check_images(images: CocoDataset, report: Callable[[str], None]) -> tuple[dict[int, str], list[str]]:
    """Decode all images.

    Args:
        images: The images with their annotations.
        report: Gets a line of progress from time to time.

    Returns:
        What is wrong with unusable images, by their index, and the names of those that an EXIF orientation turns.
    """
    faults: dict[int, str] = {}
    turned: list[str] = []
    shown = time.monotonic()
    with ThreadPoolExecutor(min(8, available_cpus())) as pool:  # decoders release the interpreter lock
        for index, result in enumerate(pool.map(partial(_check_image, images), range(len(images)))):
            if isinstance(result, str):
                faults[index] = result
            elif result:
                turned.append(images.name(index))
            if time.monotonic() - shown > _PROGRESS_S:
                shown = time.monotonic()
                report(f"checked {index + 1:,} of {len(images):,} images of {images.annotations.source}")
    return faults, turned


def describe_turned(images: CocoDataset, turned: Sequence[str]) -> str:
    """A notice on images that an EXIF orientation turns and that are read as they are stored; empty for none.

    Args:
        images: All images.
        turned: The names of those with an orientation.
    """
    if not turned:
        return ""
    return (
        f"{len(turned)} of {len(images)} images have an EXIF orientation: {listed(turned)}. Their annotations are "
        "taken for the pixels as they are stored, while cotnet predict turns images upright; if they refer to the "
        "upright images, pass --data.apply_orientation true"
    )


def _check_image(images: CocoDataset, index: int) -> str | bool:
    """What is wrong with an image, or whether its EXIF orientation turns it."""
    try:
        return images.check(index)
    except ValueError as error:
        return str(error)
