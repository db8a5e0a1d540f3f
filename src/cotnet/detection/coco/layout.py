"""Which files of a set are its annotations: the layouts that tools write."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cotnet.detection.coco import voc, yolo
from cotnet.detection.coco.archive import Files
from cotnet.detection.coco.format import foreign_tool, listed
from cotnet.detection.coco.locate import words_of

_SPLITS = {
    "train": {"train", "training", "trn"},
    "val": {"val", "valid", "validation", "dev"},
    "test": {"test", "testing"},
}
# Files that other tools and COCO itself put beside the annotations of objects.
_OTHERS = {"captions", "keypoints", "panoptic", "stuff", "notes", "categories", "predictions", "results", "metadata"}
_MAX_OPENED = 20


@dataclass(frozen=True)
class Layout:
    """The annotations of a set, by what they are for.

    Attributes:
        form: What they are, for messages.
        train: Name of the training annotations, or of those of all images; None if there are none.
        val: Name of the validation annotations; None if there are none.
        test: Name of the test annotations, which are used only by name.
    """

    form: str
    train: str | None
    val: str | None
    test: str | None = None


def find_layout(files: Files) -> Layout:
    """Recognise the layout of a set.

    Args:
        files: The files of the set.

    Raises:
        ValueError: No layout is recognised, or several files could be the same part; the message names them.
    """
    candidates = [
        name
        for name in files.names
        if name.endswith(".json") and name.count("/") <= 2 and not _OTHERS & set(words_of(name.rsplit("/", 1)[-1]))
    ]
    layouts = (
        ("COCO's format", _by_split(candidates), lambda name: _is_coco(files, name)),
        ("YOLO's format", yolo.find_splits(files), None),
        ("Pascal VOC's format", _by_split(voc.find_folders(files)), None),
    )
    for form, splits, check in layouts:
        parts = {split: _choose(files, split, names, check) for split, names in splits.items() if names}
        train = parts.get("train") or parts.get("all")
        if train or parts.get("val") or parts.get("test"):
            return Layout(form, train, parts.get("val"), parts.get("test"))
    raise ValueError(f"{files.root} has no annotations that are known: {_explain(files, candidates)}")


def _by_split(names: Sequence[str]) -> dict[str, list[str]]:
    """Names by the split that their words say, those of the file before those of its folders; ``all`` for none."""
    splits: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        parts = [set(words_of(part)) for part in reversed(name.split("/"))]
        said = (split for part in parts for split, words in _SPLITS.items() if part & words)
        splits[next(said, "all")].append(name)
    return splits


def _choose(files: Files, split: str, names: list[str], check: Any) -> str | None:
    instances = [name for name in names if "instances" in words_of(name)]
    names = instances or names
    if check is not None and len(names) <= _MAX_OPENED and (len(names) > 1 or split == "all"):
        names = [name for name in names if check(name)]
    elif len(names) > _MAX_OPENED:
        names = []
    if len(names) > 1:
        field = "val" if split == "val" else "train"
        raise ValueError(
            f"{files.root}: {listed(names)} could each be the annotations; name one of them: --data.{field} NAME"
        )
    return names[0] if names else None


def _is_coco(files: Files, name: str) -> bool:
    try:
        content = json.loads(files.read(name).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and all(isinstance(content.get(part), list) for part in ("images", "annotations"))


def _explain(files: Files, candidates: Sequence[str]) -> str:
    """What the set holds instead of annotations, and the way out."""
    if candidates:
        try:
            first = json.loads(files.read(candidates[0]).decode("utf-8-sig"))
        except (OSError, ValueError, RecursionError):
            first = None
        tool = foreign_tool(first)
        if tool:
            return f"{candidates[0]} is {tool}; export or convert it to COCO's format"
    xml = [name for name in files.names if name.endswith(".xml")]
    if xml:
        return f"{listed(xml, 3)} is no Pascal VOC; export it in COCO's format"
    held = listed(sorted({name.split("/", 1)[0] + "/" * ("/" in name) for name in files.names}))
    return f"expected train.json and val.json beside images/, the set holds {held or 'no files'}"
