"""One file that holds a trained network and everything needed to use it: safetensors with a card in the metadata."""

import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cotnet.files.checksum import check_seal
from cotnet.files.safe_load import check_expansion, why_unreadable

_KEY = "cotnet"


@dataclass(frozen=True, kw_only=True)
class WeightsCard:
    """What a weights file says about itself; plain values alone.

    Attributes:
        model: Name in timm's registry.
        task: ``"classification"``, or what else is built on the model.
        kwargs: Further arguments of the constructor.
        class_names: Names of the outputs, in order.
        preprocessing: timm's terms: ``input_size``, ``mean``, ``std``, ``interpolation``, ``crop_pct``.
        data: Name of the data module that it was validated on, and the arguments that find the images.
        scores: What was measured there, fractions of 1.
    """

    model: str
    class_names: list[str]
    preprocessing: dict[str, Any]
    task: str = "classification"
    kwargs: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """The card as nested plain values, for JSON and for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_plain(cls, values: Any, *, name: str) -> "WeightsCard":
        """Check and take over what `to_plain` made.

        Args:
            values: Nested plain values of unknown origin.
            name: What to call their file in an error message.

        Raises:
            ValueError: A part is missing or of the wrong kind.
        """
        kinds = {"model": str, "class_names": list, "preprocessing": dict, "kwargs": dict, "data": dict, "scores": dict}
        kinds["task"] = str
        if isinstance(values, dict):
            values = {"task": "classification", **values}  # older files do not say it
        if not isinstance(values, dict) or values.keys() != kinds.keys():
            raise ValueError(f"{name} does not describe its network; use a file that `cotnet train` wrote")
        for key, kind in kinds.items():
            if not isinstance(values[key], kind):
                raise ValueError(f"{name} is damaged: {key} must be a {kind.__name__}, got {values[key]!r:.80}")
        card = cls(**values)
        card._check(name)
        return card

    def _check(self, name: str) -> None:
        shape = self.preprocessing.get("input_size")
        sound = (
            isinstance(shape, list)
            and len(shape) == 3
            and all(isinstance(side, int) and side > 0 for side in shape)
            and all(_numbers(self.preprocessing.get(key), shape[0]) for key in ("mean", "std"))
            and isinstance(self.preprocessing.get("interpolation"), str)
            and _numbers([self.preprocessing.get("crop_pct")], 1)
        )
        if not sound or not self.class_names or not all(isinstance(item, str) for item in self.class_names):
            raise ValueError(f"{name} is damaged: its class names or its preprocessing are not usable")


def write_weights(path: Path, entries: dict[str, Tensor], card: WeightsCard) -> None:
    """Write a weights file; a half-written file never bears the final name.

    Args:
        path: Where to, usually ``*.safetensors``.
        entries: The network's state dict.
        card: Its description.

    Raises:
        OSError: It cannot be written, as where the disk is full.
    """
    partial = path.with_name(path.name + ".partial")
    contiguous = {name: value.detach().cpu().contiguous() for name, value in entries.items()}
    try:
        save_file(contiguous, partial, metadata={"format": "pt", _KEY: json.dumps(card.to_plain())})
    except SafetensorError as error:
        partial.unlink(missing_ok=True)
        raise OSError(f"{path} cannot be written: {error}") from error
    partial.replace(path)


def read_weights(path: Path) -> tuple[dict[str, Tensor], WeightsCard]:
    """Read a weights file. Nothing in it is executed.

    Args:
        path: The file.

    Returns:
        The network's state dict and its description.

    Raises:
        ValueError: The file is missing, damaged, or was not written by `write_weights`.
    """
    if not path.is_file():
        raise ValueError(f"weights file {str(path)!r} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            entries = {
                name: file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118 (safe_open is not iterable)
            }
    except (SafetensorError, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"weights file {str(path)!r} is damaged or no safetensors file: {error}") from error
    try:
        plain = json.loads(metadata.get(_KEY, "null"))
    except json.JSONDecodeError:
        plain = None
    return entries, WeightsCard.from_plain(plain, name=f"weights file {str(path)!r}")


def read_card(path: Path) -> WeightsCard | None:
    """The card of a weights file without its tensors, or None for a file that has none, whatever it is."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                plain = json.loads((file.metadata() or {}).get(_KEY, "null"))
        elif path.suffix == ".ckpt":
            plain = load_checkpoint(path).get("card")
        else:
            return None
        return WeightsCard.from_plain(plain, name=str(path))
    except (SafetensorError, OSError, ValueError):
        return None


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], WeightsCard]:
    """Read the network out of a training checkpoint of this package; its average where one was kept.

    Only tensors and plain values are loaded (`torch.load` with ``weights_only``), so nothing in the file is executed.

    Args:
        path: A ``.ckpt`` file.

    Returns:
        The network's state dict and its description.

    Raises:
        ValueError: The file is missing, damaged, hostile or foreign.
    """
    checkpoint = load_checkpoint(path)
    card = WeightsCard.from_plain(checkpoint.get("card"), name=f"checkpoint {str(path)!r}")
    entries = checkpoint.get("state_dict")
    if not isinstance(entries, dict):
        raise ValueError(f"checkpoint {str(path)!r} is damaged: it holds no weights")
    prefix = "network."
    return {name[len(prefix) :]: value for name, value in entries.items() if name.startswith(prefix)}, card


def load_checkpoint(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Load a checkpoint's tensors and plain values and refuse anything else.

    Args:
        path: The file.
        mapped: Leave the tensors' content in the file, to be read when it is used.

    Raises:
        ValueError: The file is missing, damaged, hostile, or holds no dict.
    """
    if not path.is_file():
        raise ValueError(f"checkpoint {str(path)!r} does not exist")
    check_seal(path)
    check_expansion(path)
    try:
        mmap = mapped and zipfile.is_zipfile(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    # A damaged or hostile pickle can make the loader stumble in any way.
    except Exception as error:
        raise ValueError(f"cannot read checkpoint {str(path)!r}: {why_unreadable(path, error)}") from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"checkpoint {str(path)!r} is no training checkpoint: it holds a {type(checkpoint).__name__}")
    return checkpoint


def _numbers(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(isinstance(v, (int, float)) for v in values)
