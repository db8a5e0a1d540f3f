"""Reading files of `torch.save` that others made: nothing in them is executed, and what is wrong is said."""

import re
import zipfile
from contextlib import suppress
from pathlib import Path

# How a file of torch before 1.6 begins: protocol 2 and torch's own number.
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def check_expansion(path: Path) -> None:
    """Refuse an archive that would fill the memory: a checkpoint's parts are stored as they are.

    Raises:
        ValueError: the parts are larger than the file.
    """
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
            raise ValueError(
                f"cannot read {path}: it unpacks to more than its own size, as no checkpoint does; do not trust it"
            )


def why_unreadable(path: Path, error: Exception) -> str:
    """What is wrong with a file that torch's safe reader refused: from its content first, torch's words second."""
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "it is empty"
    if start.startswith(b"PK"):
        if not zipfile.is_zipfile(path):
            return "it is truncated: copy or download it again"
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if not any(name.endswith("/data.pkl") for name in names):
            return "it is an archive of other files, not a checkpoint"
        if any(name.endswith("/constants.pkl") for name in names):
            return "it is a TorchScript program, not a checkpoint"
    if start.startswith(b"\x1f\x8b") or start[257:262] == b"ustar":
        return "it is an archive of other files, not a checkpoint"
    if start.lstrip().startswith(b"<"):
        return "it is a web page: the download did not give the file itself"
    if start[6:9] == b"\0\0{":  # the header and its length
        return "it is a safetensors file: read it by safetensors.torch.load_file, then cotnet.from_official"
    if start.isascii() and all(byte >= 32 or byte in b"\t\n\r" for byte in start):
        return "it is a text file, not a checkpoint"
    asked = re.search(r"GLOBAL (\S+)", str(error))
    if asked:
        return f"it asks for {asked[1]}, which no checkpoint of weights needs; do not trust it"
    if start.startswith(b"\x80") and not start.startswith(_LEGACY):
        return "it is a pickle of something else, which could run code; do not trust it"
    return f"it is damaged, or holds more than weights ({type(error).__name__})"
