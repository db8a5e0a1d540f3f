"""Released `.pth.tar` checkpoints, read without running anything that they ask for."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cotnet.files.safe_load import check_expansion, why_unreadable
from cotnet.models.official_names import from_official


class _Inert:
    """Stands in for the NumPy parts of a stored score; takes any arguments, does nothing."""

    def __init__(self, *args: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        """Leave the state out."""


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
