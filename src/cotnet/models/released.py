"""Checkpoints of the authors and of other training scripts: which of their entries are a network's weights.

Nothing in a file is executed; see `cotnet.files.safe_load`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cotnet.files.safe_load import load_tensors, settings_of
from cotnet.models.official_names import from_official

# Under which scripts keep a state dict, and an averaged one, the most telling first.
_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params")
_EMA_KEYS = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema", "params_ema")
# What wrappers (data parallel, compiled, averaged, Lightning's) put before every name.
_PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.")
_NAME_KEYS = ("arch", "model_name", "architecture", "model")


@dataclass(frozen=True)
class ForeignWeights:
    """What a checkpoint without a description holds.

    Attributes:
        entries: The state dict in our names.
        model: The network's name, where the checkpoint says it.
        class_names: Names of the classes, where the checkpoint has them.
    """

    entries: dict[str, Tensor]
    model: str | None = None
    class_names: list[str] | None = None


def load_official(path: str | Path, ema: bool = False) -> dict[str, Tensor]:
    """Read a released checkpoint into entries for our models: `model.load_state_dict(load_official(path))`.

    Nothing in the file is executed, and the configuration class that it names (`yacs`) need not be installed. Bare
    state dicts and checkpoints of other training scripts are read as well, and the prefixes of wrappers taken off.

    Args:
        path: The ``.pth.tar``, as it was published; it is no archive to unpack.
        ema: Take the averaged weights (``state_dict_ema``).

    Returns:
        Entry name to tensor, in our names, on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file that is truncated, foreign or hostile, or has no averaged weights; the message says which.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a checkpoint; a .pth.tar is used as it is, not unpacked")
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    return find_weights(load_tensors(path), path, ema=ema).entries


def find_weights(content: Any, path: Path, *, ema: bool = False) -> ForeignWeights:
    """The weights in the content of a checkpoint.

    Args:
        content: What `load_tensors` gives.
        path: The file, for messages.
        ema: Take the averaged weights.

    Raises:
        ValueError: There are none.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} is not a released checkpoint: it holds a {type(content).__name__}, not a dictionary")
    key, entries = _entries(content, _EMA_KEYS if ema else _KEYS)
    if key is None and ema:
        raise ValueError(f"{path} has no averaged weights (state_dict_ema); read it with ema=False")
    if key is None:  # a bare state dict
        key, entries = "state_dict", content
    if not isinstance(entries, Mapping) or not entries:
        raise ValueError(f"{path} is not a released checkpoint: it has no weights under {key}")
    odd = [name for name, value in entries.items() if not isinstance(name, str) or not isinstance(value, Tensor)]
    if odd:
        raise ValueError(f"{path} is not a released checkpoint: its entry {odd[0]!r} is not a named tensor")
    plain = without_prefixes({name: value for name, value in entries.items() if name != "n_averaged"})
    return ForeignWeights(from_official(plain), _model_name(content), _class_names(content))


def without_prefixes(entries: Mapping[str, Tensor], expected: Iterable[str] = ()) -> dict[str, Tensor]:
    """The entries without what wrappers have put before every name.

    Args:
        entries: Name to tensor.
        expected: Names that a network has; then any prefix that leads to most of them is taken off, and entries
            without it, as of a loss beside the network, are left out.
    """
    plain = dict(entries)
    while prefix := next((one for one in _PREFIXES if all(name.startswith(one) for name in plain)), None):
        plain = {name.removeprefix(prefix): value for name, value in plain.items()}
    expected = set(expected)
    if not expected or expected & plain.keys():
        return plain
    tails = {name[: -len(one)] for one in sorted(expected)[:8] for name in plain if name.endswith(f".{one}")}
    best = max(tails, key=lambda prefix: sum(prefix + one in plain for one in expected), default="")
    inner = {name.removeprefix(best): value for name, value in plain.items() if name.startswith(best)}
    return inner if best else plain


def _entries(content: Mapping[str, Any], keys: Iterable[str]) -> tuple[str | None, Any]:
    """The first of the keys under which weights may be, and what is there; one step down where that is a wrapper."""
    for key in keys:
        if key not in content or (key != "state_dict" and isinstance(content[key], (str, Tensor))):
            continue
        value = content[key]
        if isinstance(value, Mapping) and value and not any(isinstance(one, Tensor) for one in value.values()):
            inner, entries = _entries(value, _KEYS)
            if inner is not None:
                return key, entries
        return key, value
    return None, None


def _model_name(content: Mapping[str, Any]) -> str | None:
    """The network's name as timm's and torchvision's scripts, and Lightning's modules, keep it."""
    places = [content, *(content.get(key) for key in ("args", "hyper_parameters", "config"))]
    names = (settings_of(place).get(key) for place in places for key in _NAME_KEYS)
    return next((name for name in names if isinstance(name, str)), None)


def _class_names(content: Mapping[str, Any]) -> list[str] | None:
    for key in ("class_names", "classes", "class_to_idx"):
        names = content.get(key)
        if isinstance(names, Mapping) and sorted(map(str, names.values())) == sorted(map(str, range(len(names)))):
            names = sorted(names, key=names.__getitem__)
        if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names):
            return list(names)
    return None
