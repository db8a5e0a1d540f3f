"""YOLO's format as the content of a COCO file: class names in ``data.yaml``, one ``labels/*.txt`` for each image."""

import posixpath
import re
from typing import Any

import yaml

from cotnet.detection.coco.archive import Files
from cotnet.detection.coco.format import Entry, as_number
from cotnet.detection.coco.header import read_size
from cotnet.files.image import UnreadableImageError, is_image_name


def find_splits(files: Files) -> dict[str, list[str]]:
    """The folders of images by split, where the set is in YOLO's format; empty where it is not."""
    config = _read_config(files)
    if config is None:
        return {}
    folders = {posixpath.dirname(name) for name in files.names if is_image_name(name)}
    splits: dict[str, list[str]] = {}
    for split, keys in (("train", ("train",)), ("val", ("val", "valid", "validation")), ("test", ("test",))):
        said = next((config[key] for key in keys if isinstance(config.get(key), str)), None)
        if said is not None:
            folder = _matching_folder(said, str(config.get("path", "")), folders)
            if folder is not None:
                splits[split] = [folder]
    if not splits and any(posixpath.basename(folder) == "images" for folder in folders):
        splits["all"] = sorted(folder for folder in folders if posixpath.basename(folder) == "images")
    return splits


def load_yolo(files: Files, folder: str) -> dict[str, Any]:
    """The images of a folder with their labels, as the content of a COCO file in its plain form.

    Boxes and polygons are relative to the image, turned upright by its EXIF orientation.

    Args:
        files: The files of the set.
        folder: The folder of the images, such as ``images/train``; their labels are in ``labels/train``.

    Raises:
        ValueError: There are no images or class names, or a line of labels is not of this format.
    """
    config = _read_config(files)
    paths = [name for name in files.names if posixpath.dirname(name) == folder and is_image_name(name)]
    if config is None or not paths:
        what = "data.yaml with the names of the classes" if paths else f"images in {folder}/"
        raise ValueError(f"{files.path(folder)} is not a folder of images in YOLO's format: there is no {what}")
    images: list[Entry] = []
    annotations: list[Entry] = []
    for number, path in enumerate(paths, 1):
        image: Entry = {"id": number, "file_name": path, "width": None, "height": None}
        images.append(image)
        try:
            image |= read_size(files.read(path), apply_orientation=True)
        except (UnreadableImageError, OSError):
            continue  # it is counted among the unreadable images
        labels = _label_file(path)
        if not files.exists(labels):
            continue
        for line, text in enumerate(files.read(labels).decode("utf-8-sig", "replace").splitlines(), 1):
            if text.strip():
                name = f"{files.path(labels)}, line {line}"
                annotations.append({**_read_line(text, image, name), "id": len(annotations) + 1, "image_id": number})
    names = config["names"]
    pairs = names.items() if isinstance(names, dict) else enumerate(names)
    return {
        "info": {"image_orientation": "upright"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": int(index), "name": str(name)} for index, name in pairs],
        "folder": ".",
    }


def _read_line(text: str, image: Entry, name: str) -> Entry:
    """An annotation from ``class cx cy w h`` or ``class x1 y1 x2 y2 x3 y3 ...``, all of them fractions of the sides."""
    numbers = [as_number(part) for part in text.split()]
    if len(numbers) < 5 or None in numbers or (len(numbers) > 5 and len(numbers) % 2 == 0):
        raise ValueError(f"{name} is {text.strip()!r:.60}, expected a class and four numbers, or a class and a polygon")
    label, *values = (number for number in numbers if number is not None)
    width, height = image["width"], image["height"]
    if len(values) == 4:
        x, y, w, h = (value * side for value, side in zip(values, (width, height) * 2, strict=True))
        return {"category_id": int(label), "iscrowd": 0, "bbox": [x - w / 2, y - h / 2, w, h]}
    polygon = [value * (height if index % 2 else width) for index, value in enumerate(values)]
    return {"category_id": int(label), "iscrowd": 0, "bbox": None, "segmentation": [polygon]}


def _label_file(image: str) -> str:
    """``labels/train/a.txt`` of ``images/train/a.jpg``; beside the image where no folder is called images."""
    stem = image.rpartition(".")[0]
    before, folder, after = f"/{stem}".rpartition("/images/")
    return (f"{before}/labels/{after}" if folder else stem).lstrip("/") + ".txt"


def _read_config(files: Files) -> dict[str, Any] | None:
    """The names of the classes, and perhaps the folders of the splits; None where nothing names classes."""
    for name in files.names:
        if name.endswith((".yaml", ".yml")) and name.count("/") <= 1:
            try:
                config = yaml.safe_load(files.read(name))
            except (OSError, yaml.YAMLError, UnicodeDecodeError):
                continue
            if isinstance(config, dict) and isinstance(config.get("names"), (list, dict)) and config["names"]:
                return config
    for name in files.names:
        if posixpath.basename(name) in ("classes.txt", "obj.names"):
            lines = files.read(name).decode("utf-8-sig", "replace").splitlines()
            return {"names": [line.strip() for line in lines if line.strip()]}
    return None


def _matching_folder(said: str, root: str, folders: set[str]) -> str | None:
    """The folder of the set that a path in ``data.yaml`` means, which may be absolute or relative to another place."""
    parts = [part for part in re.split(r"[/\\]+", f"{root}/{said}") if part not in ("", ".", "..")]
    for start in range(len(parts)):
        tail = "/".join(parts[start:])
        for folder in (tail, f"{tail}/images"):
            if folder in folders:
                return folder
    return None
