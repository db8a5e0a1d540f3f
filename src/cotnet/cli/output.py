"""Where a command's result goes: standard output, a file that gets its name only when it is complete, a folder."""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from cotnet.files.atomic import replacing


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
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="surrogateescape")
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


def check_folder(option: str, folder: str, *, inputs: Iterable[str] = (), names: Iterable[str] = ()) -> None:
    """Make sure, before any work, that images can be written into a folder and destroy no input.

    Args:
        option: The option that names it.
        folder: The folder.
        inputs: Paths that are read.
        names: Names that are written in the folder.

    Raises:
        ValueError: An image would take the place of an input.
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
    taken = {os.path.realpath(one) for one in inputs}
    for name in names:
        if os.path.realpath(path / name) in taken:
            raise ValueError(f"--{option} {folder} would replace the input {path / name}; name another folder")


def image_names(paths: Iterable[str]) -> list[str]:
    """A file name for what is drawn of each image, each another one."""
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        stem, number = Path(path).stem, 1
        name = f"{stem}.png"
        while name in taken:
            number += 1
            name = f"{stem}_{number}.png"
        taken.add(name)
        names.append(name)
    return names
