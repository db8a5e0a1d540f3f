"""Pascal VOC's format as the content of a COCO file: one XML for each image, perhaps with lists of the splits."""

import posixpath
from collections import defaultdict
from typing import Any
from xml.etree import ElementTree

from cotnet.detection.coco.archive import Files
from cotnet.detection.coco.format import Entry, as_number, as_whole
from cotnet.files.image import is_image_name

_LISTS = "ImageSets/Main"
_TRIED = 5  # XML files of a folder, to see whether they are of this format


def find_folders(files: Files) -> list[str]:
    """The folders of XML files, or the lists of ``ImageSets/Main`` where there are some."""
    lists = [f"{_LISTS}/{split}.txt" for split in ("train", "val", "test")]
    folders = {posixpath.dirname(name) or "." for name in files.names if name.endswith(".xml")}
    if len(folders) == 1 and any(map(files.exists, lists[:2])):
        return [name for name in lists if files.exists(name)]
    return sorted(
        folder
        for folder in folders
        if any(_read_xml(files, path, strict=False) is not None for path in _xml_files(files, folder)[:_TRIED])
    )


def load_voc(files: Files, name: str) -> dict[str, Any]:
    """The images of a folder of XML files, or of a list of ``ImageSets/Main``, as the content of a COCO file.

    Classes are those that occur, in the order of the alphabet. Coordinates are taken as they are written.

    Args:
        files: The files of the set.
        name: The folder, or the list.

    Raises:
        ValueError: A file is not XML of this format.
    """
    paths = _xml_files(files, name)
    if name.endswith(".txt"):
        stems = {
            line.split()[0] for line in files.read(name).decode("utf-8-sig", "replace").splitlines() if line.split()
        }
        paths = [path for path in _xml_files(files, None) if posixpath.basename(path)[:-4] in stems]
    by_stem: defaultdict[str, list[str]] = defaultdict(list)
    for image in filter(is_image_name, files.names):
        by_stem[posixpath.basename(image).rpartition(".")[0]].append(image)
    images: list[Entry] = []
    objects: list[tuple[int, str, list[float]]] = []
    for number, path in enumerate(paths, 1):
        root = _read_xml(files, path)
        assert root is not None
        size = {side: as_whole(root.findtext(f"size/{side}")) or None for side in ("width", "height")}
        if None in size.values():
            size = {"width": None, "height": None}
        # The name inside is that of another machine as often as not.
        stem = posixpath.basename(path)[:-4]
        beside = [image for image in by_stem[stem] if posixpath.dirname(image) == posixpath.dirname(path)]
        candidates = beside or by_stem[stem]
        file_name = candidates[0] if len(candidates) == 1 else root.findtext("filename") or f"{stem}.jpg"
        images.append({"id": number, "file_name": file_name, **size})
        for one in root.iter("object"):
            edges = [as_number(one.findtext(f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax")]
            if None in edges:
                raise ValueError(f"{files.path(path)}: an object has no bndbox with xmin, ymin, xmax and ymax")
            left, top, right, bottom = (edge for edge in edges if edge is not None)
            objects.append((number, (one.findtext("name") or "").strip(), [left, top, right - left, bottom - top]))
    names = sorted({label for _, label, _ in objects if label})
    ids = {label: index for index, label in enumerate(names, 1)}
    annotations = [
        {"id": index, "image_id": image, "category_id": ids.get(label, 0), "iscrowd": 0, "bbox": box}
        for index, (image, label, box) in enumerate(objects, 1)
    ]
    categories = [{"id": identity, "name": label} for label, identity in ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories, "folder": "."}


def _xml_files(files: Files, folder: str | None) -> list[str]:
    return [
        name
        for name in files.names
        if name.endswith(".xml") and (folder is None or (posixpath.dirname(name) or ".") == folder)
    ]


def _read_xml(files: Files, path: str, *, strict: bool = True) -> ElementTree.Element | None:
    try:
        text = files.read(path)
        if b"<!ENTITY" in text:  # which could expand without end
            raise ValueError("it defines entities")
        root = ElementTree.fromstring(text)
        if root.tag != "annotation":
            raise ValueError(f"it holds <{root.tag}>, not <annotation>")
    except (OSError, ValueError, ElementTree.ParseError) as error:
        if strict:
            raise ValueError(f"{files.path(path)} is not in Pascal VOC's format: {error}") from error
        return None
    return root
