"""Boxes of annotations: the part inside the image, and what boxes look like that are not in COCO's form."""

from collections.abc import Sequence

from cotnet.detection.coco.format import Entry

_MIN_SIDE = 0.01  # pixels; detectors drop smaller boxes


def clip_box(box: Sequence[float], width: int, height: int) -> list[float] | None:
    """The part of a box ``[x, y, width, height]`` inside its image, or None where no area is left.

    Args:
        box: In pixels.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
    """
    x, y, w, h = map(float, box)
    left, top = max(x, 0.0), max(y, 0.0)
    right, bottom = min(x + w, float(width)), min(y + h, float(height))
    usable = right - left >= _MIN_SIDE and bottom - top >= _MIN_SIDE
    return [left, top, right - left, bottom - top] if usable else None


def guess_form(boxes: Sequence[tuple[Sequence[float], Entry]]) -> str | None:
    """A sentence on the form that boxes most probably have, or None where they look like COCO's.

    Args:
        boxes: All boxes of a file as they are written, each with the entry of its image.
    """
    if not boxes:
        return None
    if all(max(map(abs, box)) <= 1.5 for box, _ in boxes):
        return (
            "all boxes lie within 0 to 1, as normalised coordinates do; COCO's are in pixels: multiply them by the "
            "width and height of the image"
        )
    beyond = as_corners = 0
    for (x, y, w, h), image in boxes:
        width, height = image["width"] + 1, image["height"] + 1
        beyond += x + w > width or y + h > height
        as_corners += x < w <= width and y < h <= height
    # Of corners in random places about three in four reach over the edge when they are read as sides.
    if beyond >= 0.2 * len(boxes) and as_corners >= 0.98 * len(boxes):
        return (
            f"{beyond} of {len(boxes)} boxes reach over the edge of their image, and they would fit as corners "
            "[x1, y1, x2, y2]; COCO's boxes are [x, y, width, height]"
        )
    return None
