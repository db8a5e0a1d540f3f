"""COCO's annotation format: a file's content with its parts, and what of them can be used."""

import json
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

from faster_coco_eval import mask as rle

from cotnet.detection.coco.archive import Files

_LEAST_SIDE = 0.01  # pixels; detectors leave out what is smaller


def load_content(files: Files, name: str, source: str) -> dict[str, Any]:
    """An annotation file whose `images`, `annotations` and `categories` have all their parts, each of its kind.

    Args:
        files: holds it.
        name: its name there.
        source: what to call it.

    Raises:
        ValueError: it is not such a file; the message names the entry.
    """
    if not files.exists(name):
        raise ValueError(f"annotation file {source} does not exist")
    try:
        content = json.loads(files.read(name).decode("utf-8-sig"))
    except (OSError, zipfile.BadZipFile, ValueError, RecursionError) as error:
        raise ValueError(f"annotation file {source} is no JSON: {error}") from error
    needed = {
        "images": {"id", "file_name", "height", "width"},
        "annotations": {"image_id", "category_id", "bbox"},
        "categories": {"id", "name"},
    }
    for part, keys in needed.items():
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise ValueError(f"annotation file {source} has no list of {part}; it is not in COCO's format")
        for number, entry in enumerate(entries):
            missing = keys - entry.keys() if isinstance(entry, dict) else keys
            if missing:
                raise ValueError(f"annotation file {source}: {part}[{number}] has no {', '.join(sorted(missing))}")
            for key, check, kind in _KINDS[part]:
                if not check(entry.get(key)):
                    raise ValueError(
                        f"annotation file {source}: {part}[{number}] has the {key} {entry[key]!r:.80}, expected {kind}"
                    )
    for part in ("images", "annotations", "categories"):
        if not content[part]:
            raise ValueError(f"annotation file {source} has no {part}")
    return content


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(is_number, box))


def is_number(value: Any) -> bool:
    """An integer or a float, be it no finite one."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_id(value: Any) -> bool:
    """An integer that a float holds exactly, too."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53


def _is_side(value: Any) -> bool:
    return is_id(value) and value > 0


def _is_flag(value: Any) -> bool:
    return value is None or (isinstance(value, int) and value in (0, 1))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


_KINDS: dict[str, tuple[tuple[str, Callable[[Any], bool], str], ...]] = {
    "images": (
        ("id", is_id, "an integer"),
        ("file_name", _is_name, "a name"),
        ("width", _is_side, "pixels"),
        ("height", _is_side, "pixels"),
    ),
    "annotations": (
        ("image_id", is_id, "an integer"),
        ("category_id", is_id, "an integer"),
        ("bbox", _is_box, "[x, y, width, height]"),
        ("iscrowd", _is_flag, "0 or 1"),
    ),
    "categories": (("id", is_id, "an integer"), ("name", _is_name, "a name")),
}


def is_mask(shape: Any, image: dict[str, Any]) -> bool:
    """Polygons of three corners and more about the image, or run lengths of its size with a pixel in them."""
    height, width = image["height"], image["width"]
    if isinstance(shape, list):
        reach = max(height, width)  # beyond it, a mask would be drawn that is as large as the polygon
        return shape != [] and all(
            isinstance(part, list)
            and len(part) >= 6
            and len(part) % 2 == 0
            and all(is_number(x) and -reach <= x <= 2 * reach for x in part)
            for part in shape
        )
    if not isinstance(shape, dict) or shape.get("size") != [height, width]:
        return False
    counts = shape.get("counts")
    if isinstance(counts, list):
        return all(is_id(run) and run >= 0 for run in counts) and sum(counts) == height * width and any(counts[1::2])
    if not isinstance(counts, str):
        return False
    try:
        return bool(rle.decode(shape).any())
    except (ValueError, RuntimeError):
        return False


def inside(box: Sequence[float], image: dict[str, Any]) -> list[float] | None:
    """The part of a box [x, y, width, height] in its image, or `None` where nothing is left of it."""
    x, y, width, height = map(float, box)
    left, top = max(x, 0.0), max(y, 0.0)
    right, bottom = min(x + width, float(image["width"])), min(y + height, float(image["height"]))
    sound = right - left >= _LEAST_SIDE and bottom - top >= _LEAST_SIDE
    return [left, top, right - left, bottom - top] if sound else None
