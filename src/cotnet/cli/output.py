"""Where a command's result goes: standard output, or a file that gets its name only when it is complete."""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO


def check_output(output: str | None, *, inputs: Iterable[str] = ()) -> None:
    """Make sure, before any work, that a result can be written and destroys no input.

    Raises:
        ValueError: the path is one of the inputs.
        OSError: it is a folder, or its folder is missing or not writable.
    """
    if output is None:
        return
    folder = os.path.dirname(os.path.realpath(output))
    if os.path.isdir(output):
        raise IsADirectoryError(f"--output {output} is a folder; name a file")
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"--output {output}: its folder does not exist; make it first")
    if not os.access(output if os.path.exists(output) else folder, os.W_OK):
        raise PermissionError(f"--output {output} cannot be written: permission denied")
    target = os.path.realpath(output)
    if os.path.exists(target) and any(os.path.realpath(path) == target for path in inputs):
        raise ValueError(f"--output {output} is one of the inputs; name another file")


@contextmanager
def open_output(output: str | None) -> Iterator[TextIO]:
    """Open standard output, or a file beside the final one that takes its place at the end, and not after an error.

    Names of files that are no valid UTF-8 are written as the bytes that they are.

    Args:
        output: the path, or `None`.
    """
    if output is None:
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="surrogateescape")
        yield sys.stdout
        sys.stdout.flush()
        return
    target = os.path.realpath(output)
    if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):  # a pipe or a device is not replaced
        with open(target, "w", encoding="utf-8", errors="surrogateescape") as file:
            yield file
        return
    partial = f"{target}.partial"
    try:
        with open(partial, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            yield file
        os.replace(partial, target)
    finally:
        with suppress(OSError):
            os.remove(partial)
