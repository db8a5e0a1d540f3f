"""One file that holds a trained network and everything needed to use it: safetensors with a card in the metadata."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cotnet.files.atomic import replacing
from cotnet.files.checksum import check_checksum
from cotnet.files.safe_load import load_tensors

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
        quantization: Of a network of bytes, what `cotnet.quantize` reports; empty for one in floats.
    """

    model: str
    class_names: list[str]
    preprocessing: dict[str, Any]
    task: str = "classification"
    kwargs: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    quantization: dict[str, Any] = field(default_factory=dict)

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
        kinds |= {"task": str, "quantization": dict}
        if isinstance(values, dict):
            values = {"task": "classification", "quantization": {}, **values}  # files need not say it
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
    """Write a weights file; a half-written file never has the final name.

    Args:
        path: Where to, usually ``*.safetensors``.
        entries: The network's state dict.
        card: Its description.

    Raises:
        OSError: It cannot be written, as where the disk is full.
    """
    contiguous = {name: value.detach().cpu().contiguous() for name, value in entries.items()}
    with replacing(path) as partial:
        try:
            save_file(contiguous, partial, metadata={"format": "pt", _KEY: json.dumps(card.to_plain())})
        except SafetensorError as error:
            raise OSError(f"{path} cannot be written: {error}") from error


def read_weights(path: Path) -> tuple[dict[str, Tensor], WeightsCard]:
    """Read a weights file of this package. Nothing in it is executed.

    Args:
        path: The file.

    Returns:
        The network's state dict and its description.

    Raises:
        ValueError: The file is missing, damaged, or was not written by `write_weights`.
    """
    entries, card = read_safetensors(path)
    return entries, card or WeightsCard.from_plain(None, name=f"weights file {str(path)!r}")


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], WeightsCard | None]:
    """Read a safetensors file of any origin.

    Args:
        path: The file.

    Returns:
        The state dict, and its description where the file has one.

    Raises:
        ValueError: The file is missing or damaged, or its description is.
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
        raise ValueError(f"weights file {str(path)!r} is damaged or not a safetensors file: {error}") from error
    if _KEY not in metadata:
        return entries, None
    try:
        plain = json.loads(metadata[_KEY])
    except json.JSONDecodeError:
        plain = None
    return entries, WeightsCard.from_plain(plain, name=f"weights file {str(path)!r}")


def read_checkpoint(path: Path, content: dict[str, Any] | None = None) -> tuple[dict[str, Tensor], WeightsCard]:
    """Read the network out of a training checkpoint of this package; its average where one was kept.

    Only tensors and plain values are loaded, so nothing in the file is executed.

    Args:
        path: A ``.ckpt`` file.
        content: What `load_checkpoint` has given for it.

    Returns:
        The network's state dict and its description.

    Raises:
        ValueError: The file is missing, damaged, hostile or foreign.
    """
    checkpoint = load_checkpoint(path) if content is None else content
    card = WeightsCard.from_plain(checkpoint.get("card"), name=f"checkpoint {str(path)!r}")
    entries = checkpoint.get("state_dict")
    if not isinstance(entries, dict):
        raise ValueError(f"checkpoint {str(path)!r} is damaged: it contains no weights")
    prefix = "network."
    return {name[len(prefix) :]: value for name, value in entries.items() if name.startswith(prefix)}, card


def load_checkpoint(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Load a checkpoint's tensors and plain values and refuse anything else.

    Args:
        path: A file of `torch.save`.
        mapped: Leave the tensors' content in the file, to be read when it is used.

    Raises:
        ValueError: The file is missing, damaged, hostile, or holds no dict.
    """
    content = checkpoint_content(path, mapped=mapped)
    if not isinstance(content, dict):
        raise ValueError(
            f"checkpoint {str(path)!r} is not a training checkpoint: it contains a {type(content).__name__}"
        )
    return content


def checkpoint_content(path: Path, *, mapped: bool = False) -> Any:
    """What a file of `torch.save` holds, after its checksum has been compared where it has one.

    Raises:
        ValueError: The file is missing, damaged or hostile.
    """
    if not path.is_file():
        raise ValueError(f"checkpoint {str(path)!r} does not exist")
    check_checksum(path)
    return load_tensors(path, mapped=mapped)


def _numbers(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(isinstance(v, (int, float)) for v in values)
