"""Files of ``torch.save`` read by torch's safe reader, which runs nothing that they ask for.

Training scripts leave settings and scores beside their weights. For these the reader gets stand-ins that hold plain
values or nothing; a file that asks for anything else is refused by that name.
"""

import re
import sys
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

# How a file of torch before 1.6 begins: protocol 2 and torch's own number.
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
# Classes whose objects are settings, and modules in which every class is one.
_SETTINGS = ("argparse.Namespace", "types.SimpleNamespace", "collections.defaultdict", "yacs.config.CfgNode")
_SETTINGS_MODULES = (
    "addict",
    "box",
    "detectron2.config",
    "easydict",
    "fvcore.common.config",
    "lightning.fabric.utilities.data",
    "lightning.pytorch.utilities.parsing",
    "lightning_fabric.utilities.data",
    "ml_collections",
    "mmcv.utils.config",
    "mmengine.config",
    "munch",
    "omegaconf",
    "pytorch_lightning.utilities.parsing",
    "yacs.config",
)
# Of a score, a time or a path nothing is needed.
_INERT = ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar", "numpy.dtype")
_INERT_NAMES = re.compile(
    r"(datetime|decimal|pathlib|uuid)\.\w+|typing\.Any|builtins\.(bool|dict|float|int|list|object|str|tuple)"
    r"|numpy\.(dtype|ndarray|bool_?|(u?int|float|complex)\d+|dtypes\.\w+DType|_?core\.multiarray\.(scalar|_reconstruct))"
)
# torch's list of what its reader may build is the process's: one thread's additions must not end another's.
_lock = threading.Lock()


class _Inert:
    """Stands in for what has no part in weights; takes any arguments, does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Leave the state out."""


def load_tensors(path: Path, *, mapped: bool = False) -> Any:
    """The content of a file of ``torch.save``: tensors on the CPU in plain containers.

    Args:
        path: The file; it exists.
        mapped: Leave the tensors' content in the file, to be read when it is used.

    Raises:
        ValueError: It is damaged, hostile, of another kind, or holds objects and not their values; the message says
            which.
        OSError: The system does not let it be read.
    """
    with path.open("rb") as file:  # what the system refuses is no fault of the content
        is_zip = zipfile.is_zipfile(file)
    if is_zip:
        _check_expansion(path)
    try:
        with _lock, torch.serialization.safe_globals(_stand_ins(path if is_zip else None)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and is_zip)
    # A damaged file can fail anywhere inside torch's reader, with almost any exception.
    except Exception as error:
        raise ValueError(f"cannot read {path}: {why_unreadable(path, error)}") from error


def settings_of(value: Any) -> Mapping[str, Any]:
    """Names and values of settings that `load_tensors` has read, of whatever class; empty for other values."""
    if isinstance(value, OrderedDict):
        return {**vars(value), **value}
    return value if isinstance(value, Mapping) else {}


def _stand_ins(archive: Path | None) -> list[Any]:
    """What the reader builds in the place of the classes that a file names; of an old file, of the usual ones."""
    names = {*_SETTINGS, *_INERT}
    if archive is not None:
        names |= set(torch.serialization.get_unsafe_globals_in_checkpoint(archive))
    return [(stand_in, name) for name in sorted(names) if (stand_in := _stand_in(name)) is not None]


def _stand_in(name: str) -> type | None:
    # Settings must be of a type that torch's safe reader can fill.
    if name in _SETTINGS or any(name.startswith(f"{module}.") for module in _SETTINGS_MODULES):
        return OrderedDict
    return _Inert if _INERT_NAMES.fullmatch(name) else None


def _check_expansion(path: Path) -> None:
    """Refuse an archive that would fill the memory: a checkpoint's parts are stored as they are."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
    except zipfile.BadZipFile:
        return
    if size > path.stat().st_size:
        raise ValueError(
            f"cannot read {path}: it unpacks to more than its own size, as no checkpoint does; do not trust it"
        )


def why_unreadable(path: Path, error: Exception) -> str:
    """What is wrong with a file that could not be loaded: from its content first, from the error second."""
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
            return "it is a TorchScript program, not a checkpoint; save the state_dict() of its module"
    if start.startswith(b"\x1f\x8b") or start[257:262] == b"ustar":
        return "it is an archive of other files, not a checkpoint"
    if start.lstrip().startswith(b"<"):
        return "it is a web page: the download did not give the file itself"
    if start[6:9] == b"\0\0{":  # the header and its length
        return "it is a safetensors file: give its name the ending .safetensors"
    if start.isascii() and all(byte >= 32 or byte in b"\t\n\r" for byte in start):
        return "it is a text file, not a checkpoint"
    if asked := re.search(r"GLOBAL (\S+)", str(error)):
        name = asked[1]
        is_class = name.rpartition(".")[2][:1].isupper()
        if is_class and name.partition(".")[0] not in sys.stdlib_module_names:
            return f"it holds a whole object of {name}; save the state_dict() of the network in its place"
        return f"it asks for {name}, which no checkpoint of weights needs; do not trust it"
    if start.startswith(b"\x80") and not start.startswith(_LEGACY):
        return "it is a pickle of something else, which could run code; do not trust it"
    return f"it is damaged, or holds more than weights ({type(error).__name__})"
