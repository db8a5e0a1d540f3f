"""Where a set of images lies: a folder, or a zip archive that is read in place and never unpacked."""

import os
import posixpath
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path


class Files(ABC):
    """The files below one root, by their names with forward slashes.

    Args:
        root: the folder or the archive.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is such a file, inside of the root."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A file's content.

        Raises:
            OSError: it cannot be read.
            zipfile.BadZipFile: the archive is damaged there.
        """


class FolderFiles(Files):
    """The files in a folder."""

    def exists(self, name: str) -> bool:
        try:
            path = (self.root / name).resolve()
            return path.is_relative_to(self.root.resolve()) and path.is_file()
        except (OSError, ValueError, RuntimeError):  # too long, not to be encoded, links in a circle
            return False

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()


class ZipFiles(Files):
    """The files in a zip archive. Nothing is written, so no name in it can lead out of a folder.

    Raises:
        ValueError: the file is no zip archive.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._archive: zipfile.ZipFile | None = None
        self._owner = 0  # process
        self._names = set(self._open().namelist())

    def exists(self, name: str) -> bool:
        return name in self._names and not name.endswith("/")

    def read(self, name: str) -> bytes:
        return self._open().read(name)

    def _open(self) -> zipfile.ZipFile:
        # Every process has a handle of its own: a shared one has a shared position.
        if self._archive is None or self._owner != os.getpid():
            try:
                self._archive, self._owner = zipfile.ZipFile(self.root), os.getpid()
            except (zipfile.BadZipFile, OSError) as error:
                raise ValueError(f"{self.root} is no zip archive that can be read: {error}") from error
        return self._archive

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_archive": None}


def open_files(root: str | Path) -> Files:
    """The files of a folder or of a zip archive.

    Raises:
        ValueError: it is neither.
    """
    root = Path(root)
    if root.is_dir():
        return FolderFiles(root)
    if not root.exists():
        raise ValueError(f"{root} does not exist; name a folder or a zip archive with images/ and COCO's JSON")
    return ZipFiles(root)


def inner(folder: str, name: str) -> str | None:
    """The normal form of `folder/name`, or None where that is not below `folder`."""
    path = posixpath.normpath(posixpath.join(folder, name))
    home = posixpath.normpath(folder)
    inside = not path.startswith(("/", "../")) and path != ".." and (home == "." or path.startswith(home + "/"))
    return path if inside else None
