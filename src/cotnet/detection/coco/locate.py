"""The images that the ``file_name`` of an annotation file means, however they are written."""

import posixpath
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cached_property
from urllib.parse import unquote

from cotnet.detection.coco.archive import Files, join_inside
from cotnet.detection.coco.format import Entry, Problems, listed
from cotnet.files.image import is_image_name

_SAMPLE = 50  # names by which the folder is found


def find_folder(files: Files, annotations: str, entries: Sequence[Entry]) -> str:
    """The folder that the names of images are relative to.

    That is ``images`` if the first images are there, else the folder that holds most of them.

    Args:
        files: The files of the set.
        annotations: Name of the annotation file.
        entries: The entries of ``images``.

    Raises:
        ValueError: Several folders hold the same images.
    """
    sample = [entry["file_name"] for entry in entries[:_SAMPLE]]
    if any((path := join_inside("images", name)) and files.exists(path) for name in sample):
        return "images"
    wanted = {posixpath.basename(name) for name in sample}
    by_base: defaultdict[str, list[str]] = defaultdict(list)
    for path in files.names:
        if posixpath.basename(path) in wanted:
            by_base[posixpath.basename(path)].append(path)
    votes: Counter[str] = Counter()
    for name in sample:
        for path in by_base[posixpath.basename(name)]:
            if ("/" + path).endswith("/" + name):
                votes[path[: len(path) - len(name)].rstrip("/") or "."] += 1
    if not votes:
        return "images"
    most = max(votes.values())
    folders = [folder for folder, count in votes.items() if count == most]
    if len(folders) > 1:
        # Splits may number their images alike; the right folder is then near the annotation file or named like it.
        words = set(words_of(annotations))
        closeness = {folder: len(words & set(words_of(folder))) for folder in folders}
        best = max(closeness.values())
        folders = [folder for folder in folders if closeness[folder] == best]
    if len(folders) > 1:
        raise ValueError(
            f"{files.path(annotations)}: its images are in {' and in '.join(sorted(folders)[:3])}; "
            "name the folder: --data.images FOLDER"
        )
    return folders[0]


def words_of(path: str) -> list[str]:
    """The words in a path, in lower case: those of ``annotations/instances_train2017.json`` include ``train``."""
    return re.findall(r"[a-z]+", path.lower())


class ImageFinder:
    """Finds images by name: exactly, or as tools write names that were meant for another place.

    Args:
        files: The files of the set.
        folder: The folder that the names are relative to.
        annotations: Name of the annotation file, which the names may be relative to, too.
        problems: Gets the names that were found in another form, and those that were not found.
    """

    def __init__(self, files: Files, folder: str, annotations: str, problems: Problems) -> None:
        self.files, self.folder, self.problems = files, folder, problems
        self.bases = (".", posixpath.dirname(annotations) or ".")

    def find(self, names: Sequence[str]) -> list[str | None]:
        """The path of each image in the set, or None, which is counted, where it is missing or outside of it."""
        exact = [self._exact(name) for name in names]
        taken = set(exact)
        guesses = {name: self._guess(name) for name, path in zip(names, exact, strict=True) if path is None}
        claims = Counter(guesses.values())
        paths = []
        for name, path in zip(names, exact, strict=True):
            guess = guesses.get(name)
            if path is None and guess is not None and guess not in taken and claims[guess] == 1:
                path = guess
                self.problems["images found under another name"].append(f"{_end_of(name)} as {guess}")
            elif path is None and join_inside(self.folder, name) is None and not _is_absolute(name):
                self.problems["images outside the folder left out"].append(name)
            elif path is None:
                self.problems["missing images left out"].append(name)
            paths.append(path)
        return paths

    def _exact(self, name: str) -> str | None:
        path = join_inside(self.folder, name)
        return path if path is not None and self.files.exists(path) else None

    def nearby(self) -> str:
        """What the folder holds, for a message."""
        inside = [path for path in self._images if self.folder == "." or path.startswith(self.folder + "/")]
        if inside:
            names = [path.removeprefix(self.folder + "/") for path in inside]
            return f"{self.folder}/ holds {listed(names, 3)}"
        return f"the set holds {listed(self._images, 3)}" if self._images else "the set holds no images"

    def _guess(self, name: str) -> str | None:
        name = unicodedata.normalize("NFC", name.replace("\\", "/"))
        if not _is_absolute(name):
            for base in self.bases:
                path = join_inside(base, name)
                if path is not None and is_image_name(path) and self.files.exists(path):
                    return path
            if join_inside(self.folder, name) is None:
                return None
        parts = re.sub(r"^[A-Za-z]:", "", name).strip("/").split("/")
        if ".." in parts:
            return None
        for text in dict.fromkeys(["/".join(parts), unquote("/".join(parts))]):
            tail = text.split("/")
            for start in range(len(tail)):
                for base in (self.folder, *self.bases):
                    key = _folded(posixpath.normpath(posixpath.join(base, *tail[start:])))
                    path = self._by_folded.get(key)
                    if path is not None and self.files.exists(path):
                        return path
        return None

    @cached_property
    def _images(self) -> list[str]:
        return [path for path in self.files.names if is_image_name(path)]

    @cached_property
    def _by_folded(self) -> dict[str, str]:
        """Paths by their form without case; those that only case tells apart are left out."""
        counts = Counter(map(_folded, self._images))
        return {folded: path for path in self._images if counts[folded := _folded(path)] == 1}


def _end_of(name: str) -> str:
    return name if len(name) < 60 else f"...{name[-57:]}"


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _is_absolute(name: str) -> bool:
    return name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) is not None
