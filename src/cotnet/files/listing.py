"""The images below a folder, and a count of everything that is not one of them."""

import os
from collections import Counter
from collections.abc import Iterator

from cotnet.files.image import PACKAGES, is_image_name


class SkippedFiles:
    """Counts what a folder holds beside images, by ending or by kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, kind: str) -> None:
        """Count one more of a kind: ``hidden``, ``broken links`` and so on."""
        self.counts[kind] += 1

    def add_file(self, path: str) -> None:
        """Count a file that is not an image, by its ending."""
        name = os.path.basename(path)
        suffix = os.path.splitext(name)[1].lower()
        if is_hidden(name):
            kind = "hidden"
        elif os.path.islink(path) and not os.path.exists(path):
            kind = "broken links"
        elif is_image_name(name):
            kind = "special files"
        elif suffix in PACKAGES:
            kind = f"{suffix} (which pip install {PACKAGES[suffix]} makes readable)"
        else:
            kind = suffix or "without an ending"
        self.add(kind)

    def __bool__(self) -> bool:
        return bool(self.counts)

    def __str__(self) -> str:
        """The count and its kinds, such as ``12 files skipped: 7 .txt, 3 .pdf, 2 hidden``."""
        total = self.counts.total()
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.counts.most_common())
        return f"{total} {'file' if total == 1 else 'files'} skipped: {kinds}"


def images_below(folder: str, skipped: SkippedFiles) -> Iterator[str]:
    """Paths of the images in a folder and in the folders below it, in the order of the names.

    Linked folders are followed, unless they lead to what is searched anyway. Hidden files and folders are skipped.

    Args:
        folder: The folder to search.
        skipped: Counts what is skipped.

    Raises:
        OSError: The folder cannot be read.
    """
    yield from _below(folder, skipped, [os.path.realpath(folder)])


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or made beside the data by an operating system."""
    return name.startswith(".") or name == "__MACOSX"


def _below(folder: str, skipped: SkippedFiles, searched: list[str]) -> Iterator[str]:
    with os.scandir(folder) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    for entry in entries:
        path = entry.name if folder == "." else entry.path
        if entry.is_dir():
            if is_hidden(entry.name):
                skipped.add("hidden folders")
            elif not entry.is_symlink():
                yield from _below(path, skipped, searched)
            elif any(_overlap(os.path.realpath(path), place) for place in searched):
                skipped.add("links to folders that are searched anyway")
            else:
                searched.append(os.path.realpath(path))
                yield from _below(path, skipped, searched)
        elif is_image_name(entry.name) and entry.is_file():
            yield path
        else:
            skipped.add_file(path)


def _overlap(path: str, other: str) -> bool:
    """Whether one of two real paths is inside the other or equal to it."""
    return os.path.commonpath([path, other]) in (path, other)
