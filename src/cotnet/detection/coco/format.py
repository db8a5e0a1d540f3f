"""COCO's annotation format: the content of a file with all its parts, and the part of a box inside its image."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from cotnet.detection.coco.archive import Files

_MIN_SIDE = 0.01  # pixels; detectors drop smaller boxes


def load_content(files: Files, name: str, source: str) -> dict[str, Any]:
    """Read an annotation file and check that its ``images``, ``annotations`` and ``categories`` have all their parts.

    Args:
        files: The files of the set.
        name: Name of the annotation file in the set.
        source: What to call it in an error message.

    Raises:
        ValueError: It is not such a file; the message names the entry.
    """
    if not files.exists(name):
        raise ValueError(f"annotation file {source} does not exist")
    try:
        content = json.loads(files.read(name).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"annotation file {source} is not JSON: {error}") from error
    for part, fields in _FIELDS.items():
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise ValueError(f"annotation file {source} has no list of {part}; it is not in COCO's format")
        for number, entry in enumerate(entries):
            _check_entry(entry, fields, f"annotation file {source}: {part}[{number}]")
    for part in _FIELDS:
        if not content[part]:
            raise ValueError(f"annotation file {source} has no {part}")
    return content


def _check_entry(entry: Any, fields: Sequence["_Field"], name: str) -> None:
    required = {key for key, _, _, optional in fields if not optional}
    missing = required - entry.keys() if isinstance(entry, dict) else required
    if missing:
        raise ValueError(f"{name} has no {', '.join(sorted(missing))}")
    for key, check, expected, _ in fields:
        if not check(entry.get(key)):
            raise ValueError(f"{name} has the {key} {entry[key]!r:.80}, expected {expected}")


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(is_number, box))


def is_number(value: Any) -> bool:
    """Whether a value is an integer or a float, which may be infinite or NaN."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_id(value: Any) -> bool:
    """Whether a value is an integer that a float can hold exactly."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53


def _is_side(value: Any) -> bool:
    return is_id(value) and value > 0


def _is_flag(value: Any) -> bool:
    return value is None or (isinstance(value, int) and value in (0, 1))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


# Key, check of its value, what the check expects, and whether an entry may lack it.
_Field = tuple[str, Callable[[Any], bool], str, bool]

_FIELDS: dict[str, tuple[_Field, ...]] = {
    "images": (
        ("id", is_id, "an integer", False),
        ("file_name", _is_name, "a name", False),
        ("width", _is_side, "pixels", False),
        ("height", _is_side, "pixels", False),
    ),
    "annotations": (
        ("image_id", is_id, "an integer", False),
        ("category_id", is_id, "an integer", False),
        ("bbox", _is_box, "[x, y, width, height]", False),
        ("iscrowd", _is_flag, "0 or 1", True),
    ),
    "categories": (("id", is_id, "an integer", False), ("name", _is_name, "a name", False)),
}


def clip_box(box: Sequence[float], image: dict[str, Any]) -> list[float] | None:
    """The part of a box ``[x, y, width, height]`` inside its image, or None where no area is left.

    Args:
        box: In pixels.
        image: The image's entry.
    """
    x, y, width, height = map(float, box)
    left, top = max(x, 0.0), max(y, 0.0)
    right, bottom = min(x + width, float(image["width"])), min(y + height, float(image["height"]))
    usable = right - left >= _MIN_SIDE and bottom - top >= _MIN_SIDE
    return [left, top, right - left, bottom - top] if usable else None
