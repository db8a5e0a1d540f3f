"""Files of `torch.save` read without running anything that they ask for.

A pickle names functions and classes that build its objects. This reader has its own for tensors and plain containers,
and stand-ins that do nothing for the settings and scores that training scripts leave beside the weights; a file that
asks for anything else is refused by that name. No state of the process is changed, so that threads may load at once.
"""

import io
import pickle
import re
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

# How a file of torch before 1.6 begins: protocol 2 and torch's own number.
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_LEGACY_PROTOCOL = 1001


def load_tensors(path: Path) -> Any:
    """The content of a file of `torch.save`: tensors on the CPU in plain containers.

    Args:
        path: The file; it exists.

    Raises:
        ValueError: It is damaged, hostile, of another kind, or holds objects and not their values; the message says
            which.
    """
    try:
        with path.open("rb") as file:
            if zipfile.is_zipfile(file):
                return _load_zip(file)
            file.seek(0)
            if file.read(len(_LEGACY)) == _LEGACY:
                file.seek(0)
                return _load_legacy(file)
        raise pickle.UnpicklingError("it is no file of torch.save")
    except OSError as error:
        if error.errno is not None:  # of the system, not of the content
            raise
        raise ValueError(f"cannot read {path}: {why_unreadable(path, error)}") from error
    # A damaged or hostile pickle can make any of the parts fail in any way.
    except Exception as error:
        raise ValueError(f"cannot read {path}: {why_unreadable(path, error)}") from error


class ForeignObjectError(pickle.UnpicklingError):
    """A file asks for a function or a class that is not needed for tensors; the message is its name."""


class Settings(dict[str, Any]):
    """Stands in for the settings that a training script has kept, such as an `argparse.Namespace`; plain values."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        """Keep the values by name."""
        if isinstance(state, Mapping):
            self.update({name: value for name, value in state.items() if isinstance(name, str)})


class _Inert:
    """Stands in for what has no part in weights, such as a score or a path; takes anything, does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Leave the state out."""


class _Function:
    """A function that a pickle may call; no pickle can change it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes the functions that build its tensors")


class _StorageKind:
    """The type of the numbers in a storage."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes the types of its storages")


class _Storage:
    """Bytes of a file, and the type of the numbers in them."""

    __slots__ = ("content", "dtype")

    def __init__(self, content: torch.UntypedStorage, dtype: torch.dtype) -> None:
        self.content, self.dtype = content, dtype

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes its storages")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
    numbers = [offset, *size, *stride]
    if not isinstance(storage, _Storage) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise pickle.UnpicklingError("one of its tensors is none")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if 0 not in size else -1
    if (last + 1) * storage.dtype.itemsize > storage.content.nbytes():  # torch would enlarge the storage
        raise pickle.UnpicklingError("one of its tensors reaches beyond its storage")
    return torch.empty(0, dtype=storage.dtype).set_(storage.content, offset, tuple(size), tuple(stride))


def _parameter(data: Any, *rest: Any) -> Any:
    return data


def _of_type(function: Any, kind: Any, args: Any, state: Any) -> Any:
    """A tensor of a derived class, or with attributes, as a plain one."""
    if not isinstance(function, _Function):
        raise pickle.UnpicklingError("one of its tensors is none")
    return function(*args)


def _reconstruct(kind: Any, *rest: Any) -> Any:
    return kind() if kind in (Settings, _Inert) else _Inert()


def _encoded(text: str, *rest: Any) -> bytes:
    return text.encode("latin1")


_FUNCTIONS = {
    "torch._utils._rebuild_tensor": _Function(_tensor),
    "torch._utils._rebuild_tensor_v2": _Function(_tensor),
    "torch._utils._rebuild_parameter": _Function(_parameter),
    "torch._utils._rebuild_parameter_with_state": _Function(_parameter),
    "torch._tensor._rebuild_from_type_v2": _Function(_of_type),
    "torch.Size": _Function(tuple),
    "torch.device": _Function(lambda *args: str(args[0])),
    "builtins.bytearray": _Function(_encoded),
    "_codecs.encode": _Function(_encoded),
    "copyreg._reconstructor": _Function(_reconstruct),
}
_TYPES: dict[str, Any] = {"collections.OrderedDict": OrderedDict, "builtins.set": set, "builtins.frozenset": frozenset}
_TYPES |= {"builtins.complex": complex, "builtins.slice": slice}
_SETTINGS = {"argparse.Namespace", "types.SimpleNamespace", "collections.defaultdict", "collections.Counter"}
# Of these modules every class that is named is a container of settings, or holds a score, a time or a path.
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
_INERT_MODULES = ("collections", "datetime", "decimal", "enum", "numpy", "pathlib", "torch.nn.parameter", "uuid")
_INERT = {f"builtins.{name}" for name in ("bool", "dict", "float", "int", "list", "object", "str", "tuple")}
_INERT |= {"torch.Tensor", "torch._tensor.Tensor", "typing.Any"}
_NUMPY = re.compile(
    r"numpy\.(dtype|ndarray|bool_?|(u?int|float|complex)\d+|dtypes\.\w+DType|_?core\.multiarray\.(scalar|_reconstruct))"
)
_OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class _Unpickler(pickle.Unpickler):
    """Builds tensors and plain containers alone.

    Args:
        file: The pickle.
        storage: From the kind, key and number of elements of a storage to its content.
    """

    def __init__(self, file: Any, storage: Callable[[torch.dtype, str, int], torch.UntypedStorage] | None = None):
        super().__init__(file, encoding="utf-8")
        self.storage = storage

    def find_class(self, module: str, name: str) -> Any:
        module = _OLD_MODULES.get(module, module)
        full = f"{module}.{name}"
        if full in _FUNCTIONS or full in _TYPES:
            return _FUNCTIONS.get(full) or _TYPES[full]
        if module in ("torch", "torch.cuda", "torch.storage") and name.endswith("Storage"):
            return _storage_kind(name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if full in _SETTINGS or _is_inside(module, _SETTINGS_MODULES):
            return Settings
        if module.startswith("numpy"):
            if _NUMPY.fullmatch(full):
                return _Inert
        elif full in _INERT or _is_inside(module, _INERT_MODULES):
            return _Inert
        raise ForeignObjectError(full)

    def persistent_load(self, pid: Any) -> Any:
        if self.storage is None or not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            raise pickle.UnpicklingError("it refers to objects that are not in it")
        kind, key, count = pid[1], pid[2], pid[4]
        if not isinstance(kind, _StorageKind) or not isinstance(count, int) or (len(pid) == 6 and pid[5] is not None):
            raise pickle.UnpicklingError("one of its storages is none")
        return _Storage(self.storage(kind.dtype, str(key), count), kind.dtype)


def _is_inside(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _storage_kind(name: str) -> _StorageKind:
    old = {"Untyped": "uint8", "Typed": "uint8", "Byte": "uint8", "Char": "int8", "Short": "int16", "Int": "int32"}
    old |= {"Long": "int64", "Half": "float16", "Float": "float32", "Double": "float64", "Bool": "bool"}
    old |= {"BFloat16": "bfloat16", "ComplexFloat": "complex64", "ComplexDouble": "complex128"}
    kind = old.get(name.removesuffix("Storage"))
    if kind is None:
        raise ForeignObjectError(f"torch.{name}")
    return _StorageKind(getattr(torch, kind))


def _load_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        parts = {part.filename: part for part in archive.infolist()}
        pickles = [name for name in parts if name.endswith("/data.pkl")]
        if len(pickles) != 1 or any(name.endswith("/constants.pkl") for name in parts):
            raise pickle.UnpicklingError("it is no file of torch.save")
        if sum(part.file_size for part in parts.values()) > file.seek(0, io.SEEK_END):
            raise pickle.UnpicklingError("it unpacks to more than its size, as no checkpoint does; do not trust it")
        folder = pickles[0].removesuffix("data.pkl")
        if parts.get(f"{folder}byteorder") is not None and archive.read(f"{folder}byteorder") != b"little":
            raise pickle.UnpicklingError("its numbers are big-endian; save it again on this kind of machine")
        storages: dict[str, torch.UntypedStorage] = {}

        def storage(dtype: torch.dtype, key: str, count: int) -> torch.UntypedStorage:
            if key not in storages:
                part = parts[f"{folder}data/{key}"]
                storages[key] = torch.UntypedStorage(part.file_size)
                with archive.open(part) as content:
                    _fill(storages[key], content)
            return storages[key]

        return _Unpickler(io.BytesIO(archive.read(pickles[0])), storage).load()


def _load_legacy(file: BinaryIO) -> Any:
    """A file of torch before 1.6: three pickles about the writer, the content, the names of storages, the storages."""
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    _, protocol, system = (_Unpickler(file).load() for _ in range(3))
    if protocol != _LEGACY_PROTOCOL or not system.get("little_endian", True):
        raise pickle.UnpicklingError("its protocol is unknown")
    storages: dict[str, tuple[torch.UntypedStorage, int]] = {}

    def storage(dtype: torch.dtype, key: str, count: int) -> torch.UntypedStorage:
        if key not in storages:
            if not 0 <= count * dtype.itemsize <= end:
                raise pickle.UnpicklingError("one of its storages is larger than the file")
            storages[key] = torch.UntypedStorage(count * dtype.itemsize), count
        return storages[key][0]

    content = _Unpickler(file, storage).load()
    for key in _Unpickler(file).load():
        [count] = struct.unpack("<q", file.read(8))
        if count != storages[key][1]:
            raise pickle.UnpicklingError("one of its storages has another size than its tensors")
        _fill(storages[key][0], file)
    return content


def _fill(storage: torch.UntypedStorage, file: Any) -> None:
    if storage.nbytes() == 0:
        return
    view: Any = memoryview(torch.empty(0, dtype=torch.uint8).set_(storage).numpy())  # type: ignore[arg-type]
    while len(view):
        count = file.readinto(view)
        if not count:
            raise EOFError
        view = view[count:]


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
    if isinstance(error, ForeignObjectError):
        name = str(error)
        is_class = name.rpartition(".")[2][:1].isupper()
        if is_class and name.partition(".")[0] not in sys.stdlib_module_names:
            return f"it holds a whole object of {name}; save the state_dict() of the network in its place"
        return f"it asks for {name}, which no checkpoint of weights needs; do not trust it"
    if start.startswith(b"\x80") and not start.startswith(_LEGACY):
        return "it is a pickle of something else, which could run code; do not trust it"
    if isinstance(error, pickle.UnpicklingError) and str(error).startswith(("it ", "its ", "one ")):
        return str(error)
    return f"it is damaged, or holds more than weights ({type(error).__name__})"
