"""COCO's annotation format as people have it: a file's content with every value as the number or name that it means."""

import json
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from cotnet.detection.coco.archive import Files

Entry = dict[str, Any]
Problems = defaultdict[str, list[str]]

_PARTS = ("images", "annotations", "categories")


def load_content(files: Files, name: str, problems: Problems) -> dict[str, Any]:
    """Read an annotation file and give its ``images``, ``annotations`` and ``categories`` their plain form.

    Ids are integers, file and category names text, ``iscrowd`` 0 or 1. Sizes are integers or None where the file has no
    usable one, and so are boxes lists of four numbers or None.

    Args:
        files: The files of the set.
        name: Name of the annotation file in the set.
        problems: Gets what was written in another form, by kind.

    Raises:
        ValueError: It is not such a file; the message names the entry.
    """
    source = files.path(name)
    if not files.exists(name):
        nearby = [other for other in files.names if other.endswith(".json")]
        there = f"; there are {listed(nearby)}" if nearby else ""
        raise ValueError(f"annotation file {source} does not exist{there}")
    try:
        content = json.loads(files.read(name).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"annotation file {source} is not JSON: {error}") from error
    return normalise(content, source, problems)


def normalise(content: Any, source: str, problems: Problems) -> dict[str, Any]:
    """The content of an annotation file in its plain form; see `load_content`."""
    for part in _PARTS:
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            tool = foreign_tool(content)
            form = f"it is {tool}; export or convert it to COCO's format" if tool else "it is not in COCO's format"
            raise ValueError(f"annotation file {source} has no list of {part}; {form}")
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise ValueError(f"annotation file {source}: {part}[{number}] is {entry!r:.80}, expected an object")
    for part in _PARTS:
        if not content[part]:
            raise ValueError(f"annotation file {source} has no {part}")
    reader = _Reader(f"annotation file {source}", problems)
    categories = [reader.category(*numbered) for numbered in enumerate(content["categories"])]
    images = [reader.image(*numbered) for numbered in enumerate(content["images"])]
    reader.number_ids("image", images, "id")
    reader.number_ids("category", categories, "id")
    annotations = [reader.annotation(*numbered) for numbered in enumerate(content["annotations"])]
    return {**content, "images": images, "annotations": annotations, "categories": categories}


class _Reader:
    """Turns entries into their plain form.

    Args:
        source: What to call the file.
        problems: Gets what was written in another form, by kind.
    """

    def __init__(self, source: str, problems: Problems) -> None:
        self.source, self.problems = source, problems
        self.ids: dict[str, dict[str, int]] = {"image": {}, "category": {}}

    def category(self, number: int, entry: Entry) -> Entry:
        place = f"categories[{number}]"
        name = self._given(entry, "name", place)
        if is_number(name):
            self.problems["category names that are numbers taken as text"].append(str(name))
            name = str(name)
        if not isinstance(name, str) or name == "":
            raise self._unclear(place, "name", name, "a name")
        return {**entry, "id": self._id(entry, "id", place), "name": name}

    def image(self, number: int, entry: Entry) -> Entry:
        place = f"images[{number}]"
        name = self._given(entry, "file_name", place)
        if not isinstance(name, str) or name == "":
            raise self._unclear(place, "file_name", name, "a name")
        sides = {side: as_whole(entry.get(side)) for side in ("width", "height")}
        usable = all(side is not None and side > 0 for side in sides.values())
        if usable and not all(isinstance(entry[side], int) for side in sides):
            self.problems["sizes written as text or decimals read as numbers"].append(name)
        return {**entry, "id": self._id(entry, "id", place), "file_name": name} | (
            sides if usable else {"width": None, "height": None}
        )

    def annotation(self, number: int, entry: Entry) -> Entry:
        place = f"annotations[{number}]"
        name = f"annotation {entry.get('id', '?')}"
        read = {
            **entry,
            "image_id": self._reference(entry, "image", place),
            "category_id": self._reference(entry, "category", place),
            "iscrowd": self._flag(entry, place),
            "bbox": self._box(entry, place, name),
        }
        if isinstance(entry.get("area"), str) and (area := as_number(entry["area"])) is not None:
            read["area"] = area
        if (identity := as_whole(entry.get("id"))) is not None:
            read["id"] = identity
        return read

    def number_ids(self, kind: str, entries: Sequence[Entry], key: str) -> None:
        """Replace ids that are names by numbers beyond all others."""
        after = max((entry[key] for entry in entries if isinstance(entry[key], int)), default=0)
        for entry in entries:
            if isinstance(entry[key], str):
                text = entry[key]
                entry[key] = self.ids[kind].setdefault(text, max(after, 0) + len(self.ids[kind]) + 1)
                self.problems[f"{kind} ids that are no numbers replaced by numbers"].append(f"{text} by {entry[key]}")

    def _id(self, entry: Entry, key: str, place: str) -> int | str:
        value = self._given(entry, key, place)
        whole = as_whole(value)
        if whole is None:
            if isinstance(value, str) and value.strip():
                return value
            raise self._unclear(place, key, value, "an integer")
        if not isinstance(value, int):
            self.problems["ids written as text or decimals read as numbers"].append(f"{place} {value!r}")
        return whole

    def _reference(self, entry: Entry, kind: str, place: str) -> int | str:
        value = self._id(entry, f"{kind}_id", place)
        return self.ids[kind].get(value, value) if isinstance(value, str) else value

    def _flag(self, entry: Entry, place: str) -> int:
        value = entry.get("iscrowd")
        whole = 0 if value is None else as_whole(int(value) if isinstance(value, bool) else value)
        if whole not in (0, 1):
            raise self._unclear(place, "iscrowd", value, "0 or 1")
        return whole

    def _box(self, entry: Entry, place: str, name: str) -> list[float] | None:
        box = entry.get("bbox")
        if box is None or box == []:
            return None
        numbers = [as_number(value) for value in box] if isinstance(box, list) else []
        if len(numbers) != 4 or None in numbers:
            hint = _BOX_HINTS.get(len(numbers), "") if None not in numbers else ""
            raise self._unclear(place, "bbox", box, f"[x, y, width, height]{hint}")
        if not all(map(is_number, box)):
            self.problems["boxes with numbers in quotes"].append(name)
        return numbers  # type: ignore[return-value]

    def _given(self, entry: Entry, key: str, place: str) -> Any:
        if key not in entry:
            raise ValueError(f"{self.source}: {place} has no {key}")
        return entry[key]

    def _unclear(self, place: str, key: str, value: Any, expected: str) -> ValueError:
        return ValueError(f"{self.source}: {place} has the {key} {value!r:.80}, expected {expected}")


_BOX_HINTS = {
    5: "; five numbers look like a rotated box with an angle: replace it by the upright box around it",
    8: "; eight numbers look like four corners: replace them by the upright box around them",
}


def foreign_tool(content: Any) -> str | None:
    """The tool that wrote the content of a JSON file that is not in COCO's format, or None."""
    if isinstance(content, dict) and "shapes" in content and "imagePath" in content:
        return "a file of LabelMe, which writes one for each image"
    if isinstance(content, list) and content and isinstance(content[0], dict) and "data" in content[0]:
        return "Label Studio's own JSON"
    if isinstance(content, dict) and "_via_img_metadata" in content:
        return "a project of the VGG Image Annotator"
    if isinstance(content, dict) and content and all(isinstance(v, dict) and "regions" in v for v in content.values()):
        return "the VGG Image Annotator's own JSON"
    if isinstance(content, list) and content and isinstance(content[0], dict) and "score" in content[0]:
        return "a list of detections in COCO's result format, not annotations"
    return None


def is_number(value: Any) -> bool:
    """Whether a value is an integer or a float, which may be infinite or NaN."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def as_number(value: Any) -> float | None:
    """The number that a value means, also in quotes; None where it means none."""
    if is_number(value):
        return value
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None


def as_whole(value: Any) -> int | None:
    """The integer that a value means, also as 7.0 or "007"; None where it means none that a float holds exactly."""
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,20}(\.0*)?\s*", value):
        value = int(value.strip().split(".")[0])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    usable = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53
    return value if usable else None


def listed(names: Sequence[str], limit: int = 5) -> str:
    """Names for a message, the first ones with the number of the others."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(printable, names[:limit])) + more


def printable(name: str) -> str:
    """A name that any terminal can show, shortened where it is long."""
    return name[:120].encode("utf-8", "backslashreplace").decode()


def is_finite(value: Any) -> bool:
    """Whether a value is a number and neither infinite nor NaN."""
    return is_number(value) and math.isfinite(value)
