"""Where a command's result goes: standard output, a file that gets its name only when it is complete, a folder."""

import os
import stat
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from cotnet.files.atomic import replacing

_STEM_BYTES = 200  # of a name, which may have 255 with a number and endings


def check_output(output: str | None, *, option: str = "output", inputs: Iterable[str] = ()) -> None:
    """Make sure, before any work, that a result can be written and destroys no input.

    Args:
        output: The path, or None.
        option: The option that names it.
        inputs: Paths that are read; looked at only if the output exists.

    Raises:
        ValueError: The path is one of the inputs.
        OSError: It is a folder, or its folder is missing or not writable.
    """
    if output is None:
        return
    folder = os.path.dirname(os.path.realpath(output))
    if os.path.isdir(output):
        raise IsADirectoryError(f"--{option} {output} is a folder; name a file")
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"--{option} {output}: its folder does not exist; make it first")
    if not os.access(output if os.path.exists(output) else folder, os.W_OK):
        raise PermissionError(f"--{option} {output} cannot be written: permission denied")
    target = os.path.realpath(output)
    if os.path.exists(target) and any(os.path.realpath(path) == target for path in inputs):
        raise ValueError(f"--{option} {output} is one of the inputs; name another file")


@contextmanager
def open_output(output: str | None) -> Iterator[TextIO]:
    """Open standard output, or a file that takes the place of an earlier one at the end, and not after an error.

    Names of files that are no valid UTF-8 are written as the bytes that they are.

    Args:
        output: The path, or None.
    """
    options: Any = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    if output is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    target = os.path.realpath(output)
    if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):  # a pipe or a device is not replaced
        with open(target, "w", **options) as file:
            yield file
        return
    with replacing(target) as partial, open(partial, "w", **options) as file:
        yield file


def output_format(output: str | None, given: str | None, formats: Sequence[str]) -> str:
    """The format of a result: the one that is given, else the one that the file's name ends with, else a table.

    Args:
        output: The path, or None.
        given: The format that the user has named, or None.
        formats: Those that there are.

    Raises:
        ValueError: The name ends with a format that there is not.
    """
    ending = os.path.splitext(output or "")[1].lower().removeprefix(".")
    if given is not None or ending not in ("csv", "json"):
        return given or "table"
    if ending not in formats:
        known = " and ".join(formats)
        raise ValueError(f"--output {output}: the formats here are {known}; name the file so, or pass --format")
    return ending


def check_folder(option: str, folder: str, *, inputs: Iterable[str] = ()) -> None:
    """Make sure, before any work, that PNG images can be written into a folder and destroy no input.

    Args:
        option: The option that names it.
        folder: The folder.
        inputs: Paths that are read; looked at only if there are such images in the folder.

    Raises:
        ValueError: One of the inputs is such an image in the folder.
        OSError: It is a file, or cannot be made.
    """
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"--{option} {folder} is a file; name a folder")
    home = path
    while not home.exists():
        home = home.absolute().parent
    if not os.access(home, os.W_OK):
        raise PermissionError(f"--{option} {folder} cannot be written: permission denied")
    if not path.is_dir() or not any(path.glob("*.[pP][nN][gG]")):
        return
    home = path.resolve()
    for one in inputs:
        target = Path(os.path.realpath(one))
        if target.parent == home and target.suffix.lower() == ".png":
            raise ValueError(f"--{option} {folder} would replace the input {one}; name another folder")


class OutputNames:
    """File names for what is drawn of images, each another one, also where a file system tells no case apart."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._counts: dict[str, int] = {}

    def __call__(self, path: str) -> str:
        """The name for the image at a path: its own with another ending, with a number where that is taken."""
        stem = os.fsdecode(os.fsencode(Path(path).stem)[:_STEM_BYTES])
        key = _folded(stem)
        name = stem
        while _folded(name) in self._taken:
            self._counts[key] = self._counts.get(key, 1) + 1
            name = f"{stem}_{self._counts[key]}"
        self._taken.add(_folded(name))
        return f"{name}.png"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
