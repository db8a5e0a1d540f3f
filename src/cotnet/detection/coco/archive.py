"""The files of an image set: a folder, or a zip archive that is read in place and never unpacked."""

import os
import posixpath
import zipfile
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path


class Files(ABC):
    """The files of a set, by their names with forward slashes.

    A set that consists of one folder alone is that folder, as in most archives.

    Args:
        root: The folder or the archive.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.top = ""

    def path(self, name: str) -> str:
        """The place of a file, for messages."""
        return f"{self.root}/{self._full(name)}"

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return self._exists(self._full(name))

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            OSError: It cannot be read, or the archive is damaged there.
        """
        return self._read(self._full(name))

    @cached_property
    def names(self) -> list[str]:
        """The names of all files, sorted; without hidden files and what macOS adds to archives."""
        visible = (name for name in self._list() if not any(map(_is_hidden, name.split("/"))))
        return sorted(name.removeprefix(self.top) for name in visible)

    def enter_single_folder(self) -> None:
        """Go down as long as the set consists of one folder alone."""
        while True:
            entries = [(name, is_folder) for name, is_folder in self._entries() if not _is_hidden(name)]
            if len(entries) != 1 or not entries[0][1]:
                return
            self.top += entries[0][0] + "/"

    def _full(self, name: str) -> str:
        # A user may also count the single folder in.
        return name if self.top and not self._exists(self.top + name) and self._exists(name) else self.top + name

    @abstractmethod
    def _entries(self) -> set[tuple[str, bool]]:
        """Name of each entry of the uppermost folder, and whether it is a folder."""

    @abstractmethod
    def _exists(self, path: str) -> bool: ...

    @abstractmethod
    def _read(self, path: str) -> bytes: ...

    @abstractmethod
    def _list(self) -> list[str]: ...


class FolderFiles(Files):
    """The files in a folder. Links are followed, wherever they lead."""

    def _exists(self, path: str) -> bool:
        try:
            return (self.root / path).is_file()
        except (OSError, ValueError):  # too long, not to be encoded
            return False

    def _read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def _entries(self) -> set[tuple[str, bool]]:
        with os.scandir(self.root / self.top) as entries:
            return {(entry.name, entry.is_dir()) for entry in entries}

    def _list(self) -> list[str]:
        found, seen = [], set()
        for folder, subfolders, files in os.walk(self.root / self.top, followlinks=True):
            place = os.path.realpath(folder)
            if place in seen:  # a link that leads back to a folder above it
                subfolders.clear()
                continue
            seen.add(place)
            inside = os.path.relpath(folder, self.root).replace(os.sep, "/")
            found += files if inside == "." else [f"{inside}/{name}" for name in files]
        return found


class ZipFiles(Files):
    """The files in a zip archive. Nothing is written, so no name in it can lead out of a folder.

    Raises:
        ValueError: The file is not a zip archive.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._archive: zipfile.ZipFile | None = None
        self._pid = 0
        self._members = {name for name in self._open().namelist() if not name.endswith("/")}

    def _exists(self, path: str) -> bool:
        return path in self._members

    def _read(self, path: str) -> bytes:
        try:
            return self._open().read(path)
        # Decompressors raise errors of their own, and an encrypted file raises RuntimeError.
        except Exception as error:
            raise OSError(str(error) or type(error).__name__) from error

    def _entries(self) -> set[tuple[str, bool]]:
        below = [name.removeprefix(self.top) for name in self._list()]
        return {(name.split("/", 1)[0], "/" in name) for name in below}

    def _list(self) -> list[str]:
        return [name for name in self._members if name.startswith(self.top)]

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
    """The files of a folder or of a zip archive; where it holds one folder alone, of that folder.

    Raises:
        ValueError: It is neither.
    """
    root = Path(root)
    if not root.exists():
        raise ValueError(f"{root} does not exist; name a folder or a zip archive with images/ and COCO's JSON")
    files = FolderFiles(root) if root.is_dir() else ZipFiles(root)
    files.enter_single_folder()
    return files


def join_inside(folder: str, name: str) -> str | None:
    """``folder/name`` in its normal form, or None where that is not below ``folder``."""
    path = posixpath.normpath(posixpath.join(folder, name))
    home = posixpath.normpath(folder)
    inside = not path.startswith(("/", "../")) and path != ".." and (home == "." or path.startswith(home + "/"))
    return path if inside else None


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"
