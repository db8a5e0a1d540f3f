"""One gate for every file of weights: what it holds, read once."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from cotnet.files.weights import WeightsCard, checkpoint_content, read_checkpoint, read_safetensors
from cotnet.models.official_names import from_official
from cotnet.models.released import find_weights, without_prefixes

EXPORTED = (".onnx", ".xml")  # opened by their runtimes
CONFIG = "config.json"  # timm's, beside the weights
# What a folder that timm has written calls them, in timm's order.
_IN_FOLDERS = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights that has been read.

    Attributes:
        path: The file.
        entries: The state dict; empty for an exported network, which its runtime opens.
        card: Its description, or None where it has none, as checkpoints of other training scripts.
        model: Without a card the network's name, where the file or timm's configuration beside it says it.
        kwargs: Further arguments of the network's constructor, of timm's configuration.
        class_names: Names of the classes, where they are known.
        preprocessing: timm's terms, where they are known.
    """

    path: Path
    entries: dict[str, Tensor]
    card: WeightsCard | None = None
    model: str | None = None
    kwargs: dict[str, Any] | None = None
    class_names: list[str] | None = None
    preprocessing: dict[str, Any] | None = None


def open_weights(weights: "str | Path | WeightsFile", *, ema: bool = False) -> WeightsFile:
    """Read a file of weights, whatever has written it. Nothing in it is executed.

    Args:
        weights: A file of this package, a checkpoint of the authors or of another training script, a safetensors file,
            or a folder that timm has written; one that has been read is given back.
        ema: Take the averaged weights of a checkpoint that has both.

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
        path = _file_in(path)
    if path.suffix in EXPORTED:
        return WeightsFile(path, {})
    if path.suffix == ".safetensors":
        entries, card = read_safetensors(path)
        file = WeightsFile(path, entries if card else from_official(without_prefixes(entries)), card)
    else:
        content = checkpoint_content(path)
        if isinstance(content, dict) and "card" in content:
            return WeightsFile(path, *read_checkpoint(path, content))
        found = find_weights(content, path, ema=ema)
        file = WeightsFile(path, found.entries, model=found.model, class_names=found.class_names)
    return file if file.card else _with_config(file)


def _file_in(folder: Path) -> Path:
    if (folder / CONFIG).is_file():
        for name in _IN_FOLDERS:
            if (folder / name).is_file():
                return folder / name
    raise ValueError(f"{folder} is a folder; name the weights file in it, e.g. {folder / 'weights.safetensors'}")


def _with_config(file: WeightsFile) -> WeightsFile:
    """The file with what timm's configuration beside it says; another program's `config.json` says nothing."""
    try:
        config = json.loads((file.path.parent / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return file
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        return file
    cfg = config.get("pretrained_cfg")
    cfg = {**config, **cfg} if isinstance(cfg, dict) else config
    keys = ("input_size", "mean", "std", "interpolation", "crop_pct")
    names, arguments = cfg.get("label_names"), config.get("model_args")
    # The number of classes is that of the weights.
    kwargs = {k: v for k, v in arguments.items() if k != "num_classes"} if isinstance(arguments, dict) else {}
    return replace(
        file,
        model=config["architecture"],
        kwargs=kwargs,
        class_names=names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None,
        preprocessing={key: cfg[key] for key in keys} if all(key in cfg for key in keys) else None,
    )
