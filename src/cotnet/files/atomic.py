"""Files that are complete or not there: written beside their name, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to; it takes the name of ``path`` when the block ends.

    After an error the temporary file is removed, and what was at ``path`` is as it was. The file gets the permissions
    of any new file, whatever the writer sets.

    Args:
        path: The file to write or to replace.
        durable: Sync the file and its folder to the disk, so that the rename lasts through a power cut.

    Yields:
        ``path`` with the suffix ``.partial`` added.

    Raises:
        OSError: It cannot be written.

    Example:
        >>> with replacing("metrics.csv") as partial:
        ...     partial.write_text("epoch,top1\\n")
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.partial")
    partial.touch()
    try:
        mode = partial.stat().st_mode
        yield partial
        os.chmod(partial, mode)
        if durable:
            _sync(partial)
        partial.replace(path)
        if durable:
            _sync(path.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
