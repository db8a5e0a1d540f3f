"""Released `.pth.tar` checkpoints, read without running anything that they ask for."""

import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cotnet.models.official import from_official


class _Inert:
    """Stands in for the NumPy parts of a stored score; takes any arguments, does nothing."""

    def __init__(self, *args: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        """Leave the state out."""


# How a file of torch before 1.6 begins: protocol 2 and torch's own number.
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

# What a released checkpoint names beside tensors and plain values, and what its reader gets instead. The settings must
# be of a type that torch's safe reader can fill.
STAND_INS: list[Any] = [
    (OrderedDict, "yacs.config.CfgNode"),
    (_Inert, "numpy._core.multiarray.scalar"),
    (_Inert, "numpy.core.multiarray.scalar"),
    (_Inert, "numpy.dtype"),
]


def load_official(path: str | Path, ema: bool = False) -> dict[str, Tensor]:
    """Read a released checkpoint into entries for our models: `model.load_state_dict(load_official(path))`.

    Nothing in the file is executed, and the configuration class that it names (`yacs`) need not be installed. A bare
    state dict is read as well, and a `module.` prefix is taken off.

    Args:
        path: the `.pth.tar`, as it was published; it is no archive to unpack.
        ema: take the averaged weights (`state_dict_ema`).

    Returns:
        Entry name to tensor, in our names, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file that is truncated, foreign or hostile, or has no averaged weights; the message says which.
    """
    content = _load(Path(path))
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} is not a released checkpoint: it holds a {type(content).__name__}, not a dictionary")
    if ema and "state_dict_ema" not in content:
        raise ValueError(f"{path} has no averaged weights (state_dict_ema); read it with ema=False")
    # A released detector keeps its weights under "model".
    key = "state_dict_ema" if ema else "state_dict"
    entries = content.get(key, content.get("model", content))
    if not isinstance(entries, Mapping) or not entries:
        raise ValueError(f"{path} is not a released checkpoint: it has no weights under {key}")
    odd = [name for name, value in entries.items() if not isinstance(name, str) or not isinstance(value, Tensor)]
    if odd:
        raise ValueError(f"{path} is not a released checkpoint: its entry {odd[0]!r} is not a named tensor")
    return from_official({name.removeprefix("module."): value for name, value in entries.items()})


def _load(path: Path) -> Any:
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a checkpoint; a .pth.tar is used as it is, not unpacked")
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    check_expansion(path)
    with torch.serialization.safe_globals(STAND_INS):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        # A damaged file can fail anywhere inside torch's reader, with almost any exception.
        except Exception as error:
            raise ValueError(f"cannot read {path}: {why_unreadable(path, error)}") from error


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
