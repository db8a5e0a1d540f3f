"""Weights for a model that timm builds: what `pretrained=True` does, and loading with a different classifier."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import resolve_pretrained_cfg
from torch import Tensor, nn

from cotnet.models.official_names import from_official
from cotnet.models.released import load_official

NO_WEIGHTS = (
    "{name} has no weights that can be fetched: the authors publish theirs by hand, linked from "
    "github.com/JDAI-CV/CoTNet. Download the .pth.tar, then "
    "timm.create_model({name!r}, pretrained=True, pretrained_cfg_overlay={{'file': 'path/to/it.pth.tar'}}), or "
    "model.load_state_dict(cotnet.load_official('path/to/it.pth.tar')). "
    "Use pretrained=False for random weights."
)


def resolve_weights(name: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Replace the weights file in timm's model arguments by its entries, read safely.

    Raises:
        RuntimeError: no file is named, so that nobody trains on random weights unawares.
    """
    cfg = resolve_pretrained_cfg(name, kwargs.get("pretrained_cfg"), kwargs.get("pretrained_cfg_overlay"))
    if cfg.file:
        entries = read_entries(cfg.file)
    elif cfg.state_dict:
        entries = from_official(cfg.state_dict)
    elif cfg.has_weights:
        return kwargs
    else:
        raise RuntimeError(NO_WEIGHTS.format(name=name))
    overlay = {**(kwargs.get("pretrained_cfg_overlay") or {}), "state_dict": entries, "file": None}
    overlay["num_classes"] = classes = len(entries.get("fc.weight", ()))
    if not kwargs.get("features_only"):
        _notice(classes, kwargs.get("num_classes", classes or cfg.num_classes))
    return {**kwargs, "pretrained_cfg_overlay": overlay}


def read_entries(path: str | Path) -> dict[str, Tensor]:
    """Entries in our names from a released checkpoint or a safetensors file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file that cannot be read, or holds something else.
    """
    if Path(path).suffix != ".safetensors":
        return load_official(path)
    try:
        return from_official(load_file(path))
    except SafetensorError as error:
        raise ValueError(f"cannot read {path}: it is damaged, or no safetensors file ({error})") from error


def load_entries(model: nn.Module, entries: Mapping[str, Tensor]) -> None:
    """Load entries, official or ours or timm's, into a model; a classifier of another width is dropped with a notice.

    Raises:
        ValueError: the entries belong to another model.
    """
    entries = checkpoint_filter_fn(dict(entries), model)
    head = _classifier(model)
    classes, wanted = len(entries.get(f"{head}.bias", ())), getattr(model, "num_classes", 0)
    if classes != wanted:
        _notice(classes, wanted)
        entries = {name: value for name, value in entries.items() if not name.startswith(f"{head}.")}
    model.load_state_dict(entries, strict=False)


def checkpoint_filter_fn(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Rename official entries, and refuse those of another model; the classifier and the first convolution may differ.

    Raises:
        ValueError: entries that are missing, left over, or of another shape.
    """
    entries, own = from_official(state_dict), model.state_dict()
    # A detector's frozen norms do not count batches; nothing is computed from the number.
    entries = {name: own[name] for name in own if name.endswith("num_batches_tracked")} | entries
    head = _classifier(model)
    adaptable = {f"{head}.weight", f"{head}.bias"}
    first_conv = next(iter(own), "")
    problems = [f"{name} is missing" for name in own if name not in entries and name not in adaptable]
    problems += [f"{name} is not part of the model" for name in entries if name not in own and name not in adaptable]
    problems += [
        f"{name} has shape {list(value.shape)}, not {list(own[name].shape)}"
        for name, value in entries.items()
        if name in own and name not in adaptable | {first_conv} and value.shape != own[name].shape
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ValueError(f"the weights belong to another model: {problems[0]}{more}")
    return entries


def _classifier(model: nn.Module) -> str:
    """Name of the classifier, as timm's configuration of the model has it."""
    name = (getattr(model, "pretrained_cfg", None) or {}).get("classifier") or "fc"
    return name if isinstance(name, str) else name[0]


def _notice(classes: int, wanted: int) -> None:
    if classes != wanted:
        text = f"the weights classify {classes} classes, the model {wanted}: their classifier is dropped"
        if classes == 0:
            text = f"the weights have no classifier: the model's, of {wanted} classes, keeps its random weights"
        warnings.warn(text, UserWarning, stacklevel=2)
