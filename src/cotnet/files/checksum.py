"""A SHA-256 checksum inside a file of `torch.save`: in the comment that a zip archive may end with.

The file stays what it is: `torch.load` and every zip program read it as before.
"""

import hashlib
import struct
from pathlib import Path
from typing import BinaryIO

_MARK = b"sha256:"
_COMMENT_BYTES = len(_MARK) + 64
_CHUNK_BYTES = 2**22


def write_with_checksum(file: BinaryIO, content: memoryview) -> None:
    """Write a zip archive that has no comment yet, with its checksum.

    Args:
        file: Open for writing.
        content: The archive; its last two bytes are the length of its comment, zero.
    """
    assert content[-2:] == b"\0\0"
    file.write(content[:-2])
    file.write(struct.pack("<H", _COMMENT_BYTES) + _MARK + hashlib.sha256(content[:-2]).hexdigest().encode())


def check_checksum(path: Path) -> None:
    """Compare a file with its checksum; a file without one passes.

    Raises:
        ValueError: The content has changed since it was written.
    """
    length = path.stat().st_size - _COMMENT_BYTES - 2
    if length < 0:
        return
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(length + 2)
        comment = file.read()
        if not comment.startswith(_MARK):
            return
        file.seek(0)
        while length > 0:
            chunk = file.read(min(_CHUNK_BYTES, length))
            digest.update(chunk)
            length -= len(chunk)
    if comment[len(_MARK) :] != digest.hexdigest().encode():
        raise ValueError(f"{str(path)!r} is damaged: its content does not match its checksum")
