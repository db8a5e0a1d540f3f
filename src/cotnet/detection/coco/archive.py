"""The files of an image set: a folder, or a zip archive that is read in place and never unpacked."""

import os
import posixpath
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path


class Files(ABC):
    """The files below one root, by their names with forward slashes.

    Args:
        root: The folder or the archive.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is a file of this name inside the root."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            OSError: It cannot be read, or the archive is damaged there.
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
        ValueError: The file is not a zip archive.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._archive: zipfile.ZipFile | None = None
        self._pid = 0
        self._names = set(self._open().namelist())

    def exists(self, name: str) -> bool:
        return name in self._names and not name.endswith("/")

    def read(self, name: str) -> bytes:
        try:
            return self._open().read(name)
        # Decompressors raise errors of their own, and an encrypted file raises RuntimeError.
        except Exception as error:
            raise OSError(str(error) or type(error).__name__) from error

    def _open(self) -> zipfile.ZipFile:
        # One handle for each process: a handle that processes share has one position for all of them.
        if self._archive is None or self._pid != os.getpid():
            try:
                self._archive, self._pid = zipfile.ZipFile(self.root), os.getpid()
            except (zipfile.BadZipFile, OSError) as error:
                raise ValueError(f"{self.root} cannot be read as a zip archive: {error}") from error
        return self._archive

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_archive": None}


def open_files(root: str | Path) -> Files:
    """The files of a folder or of a zip archive.

    Raises:
        ValueError: It is neither.
    """
    root = Path(root)
    if root.is_dir():
        return FolderFiles(root)
    if not root.exists():
        raise ValueError(f"{root} does not exist; name a folder or a zip archive with images/ and COCO's JSON")
    return ZipFiles(root)


def join_inside(folder: str, name: str) -> str | None:
    """``folder/name`` in its normal form, or None where that is not below ``folder``."""
    path = posixpath.normpath(posixpath.join(folder, name))
    home = posixpath.normpath(folder)
    inside = not path.startswith(("/", "../")) and path != ".." and (home == "." or path.startswith(home + "/"))
    return path if inside else None
