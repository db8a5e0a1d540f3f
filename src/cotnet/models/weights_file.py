"""One gate for every file of weights: what it holds, read once."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from cotnet.files.weights import WeightsCard, read_checkpoint, read_weights
from cotnet.models.released import load_official

EXPORTED = (".onnx", ".xml")  # opened by their runtimes


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights that has been read.

    Attributes:
        path: The file.
        entries: The state dict; empty for an exported network, which its runtime opens.
        card: Its description, or None where it has none, as released checkpoints.
    """

    path: Path
    entries: dict[str, Tensor]
    card: WeightsCard | None = None


def open_weights(weights: "str | Path | WeightsFile", *, ema: bool = False) -> WeightsFile:
    """Read a file of weights, whatever has written it. Nothing in it is executed.

    Args:
        weights: The file; one that has been read is given back.
        ema: Take a released checkpoint's averaged weights.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, hostile, or holds no weights.
    """
    if isinstance(weights, WeightsFile):
        return weights
    path = Path(weights)
    if not path.exists():
        raise FileNotFoundError(f"there is no weights file {path}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name the weights file in it, e.g. {path / 'weights.safetensors'}")
    if path.suffix in EXPORTED:
        return WeightsFile(path, {})
    if path.suffix in (".safetensors", ".ckpt"):
        return WeightsFile(path, *(read_weights if path.suffix == ".safetensors" else read_checkpoint)(path))
    return WeightsFile(path, load_official(path, ema=ema))
