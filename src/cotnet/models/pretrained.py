"""Weights for a model that timm builds: what `pretrained=True` does, and loading with a different classifier."""

import warnings
from collections.abc import Mapping
from typing import Any

from timm.models import resolve_pretrained_cfg
from torch import Tensor, nn

from cotnet.models.official_names import from_official
from cotnet.models.released import without_prefixes
from cotnet.models.weights_file import open_weights

_PREPROCESSING = ("input_size", "mean", "std", "interpolation", "crop_pct")
NO_WEIGHTS = (
    "{name} has no weights that can be fetched: the authors publish theirs by hand, linked from "
    "github.com/JDAI-CV/CoTNet. Download the .pth.tar, then "
    "timm.create_model({name!r}, pretrained=True, pretrained_cfg_overlay={{'file': 'path/to/it.pth.tar'}}), or "
    "model.load_state_dict(cotnet.load_official('path/to/it.pth.tar')). "
    "Use pretrained=False for random weights."
)


def resolve_weights(name: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Replace the weights file in timm's model arguments by its entries, read safely.

    A file that says how its network wants images sets this in timm's configuration, too, where the caller does not.

    Args:
        name: Name of the model.
        kwargs: Arguments of `timm.create_model`.

    Raises:
        RuntimeError: No file is named, so that nobody trains on random weights unawares.
    """
    overlay = dict(kwargs.get("pretrained_cfg_overlay") or {})
    cfg = resolve_pretrained_cfg(name, kwargs.get("pretrained_cfg"), overlay)
    if cfg.source == "local-dir":  # a folder, which timm reads as it reads those of the hub
        return kwargs
    if cfg.file:
        file = open_weights(cfg.file)
        entries = file.entries
        preprocessing = file.card.preprocessing if file.card else file.preprocessing or {}
        overlay = {**{key: _plain(preprocessing[key]) for key in _PREPROCESSING if key in preprocessing}, **overlay}
    elif cfg.state_dict:
        entries = from_official(cfg.state_dict)
    elif cfg.has_weights:
        return kwargs
    else:
        raise RuntimeError(NO_WEIGHTS.format(name=name))
    overlay |= {"state_dict": entries, "file": None}
    overlay["num_classes"] = classes = len(entries.get("fc.weight", ()))
    if not kwargs.get("features_only"):
        _notice(classes, kwargs.get("num_classes", classes or cfg.num_classes))
    return {**kwargs, "pretrained_cfg_overlay": overlay}


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def load_entries(model: nn.Module, entries: Mapping[str, Tensor]) -> None:
    """Load entries, official or ours or timm's, into a model; a classifier of another width is dropped with a notice.

    Args:
        model: A network of timm's registry.
        entries: Name to tensor; wrappers may have put a prefix before every name.

    Raises:
        ValueError: The entries belong to another model.
    """
    entries = checkpoint_filter_fn(dict(entries), model)
    head = _classifier(model)
    classes, wanted = len(entries.get(f"{head}.weight", ())), getattr(model, "num_classes", 0)
    if classes != wanted:
        _notice(classes, wanted)
        entries = {name: value for name, value in entries.items() if not name.startswith(f"{head}.")}
    model.load_state_dict(entries, strict=False)


def checkpoint_filter_fn(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Rename official entries, and refuse those of another model; the classifier and the first convolution may differ.

    Args:
        state_dict: Name to tensor.
        model: The network that they are for.

    Raises:
        ValueError: Entries that are missing, left over, or of another shape.
    """
    expected = model.state_dict()
    entries = from_official(without_prefixes(state_dict, expected))
    # A detector's frozen norms do not count batches; nothing is computed from the number.
    entries = {name: expected[name] for name in expected if name.endswith("num_batches_tracked")} | entries
    head = _classifier(model)
    adaptable = {f"{head}.weight", f"{head}.bias"}
    first_conv = next(iter(expected), "")
    missing = [name for name in expected if name not in entries and name not in adaptable]
    unknown = [name for name in entries if name not in expected and name not in adaptable]
    problems = [f"{name} is missing{f', there is {unknown[0]}' if unknown else ''}" for name in missing]
    problems += [f"{name} is not part of the model" for name in unknown]
    problems += [
        f"{name} has shape {list(value.shape)}, not {list(expected[name].shape)}"
        for name, value in entries.items()
        if name in expected and name not in adaptable | {first_conv} and value.shape != expected[name].shape
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
