"""A trained network with what it needs, from any weights file that the package knows."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import ImageNetInfo
from torch import Tensor, nn

from cotnet.exporting.artifacts import load_artefact
from cotnet.files.weights import WeightsCard, read_checkpoint, read_weights
from cotnet.fusing.api import fuse
from cotnet.models import load_entries, load_official
from cotnet.models.family import check_name

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
# What would make timm open other files on behalf of a weights file, or build no classifier of its classes.
_FORBIDDEN = {
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
    "num_classes",
    "features_only",
}


def load_network(
    path: Path, *, model: str | None = None, ema: bool = False, fused: bool = False
) -> tuple[nn.Module, WeightsCard]:
    """Build the network of a weights file, ready for inference.

    Args:
        path: `weights.safetensors` or a `.ckpt` of a training run, an `.onnx` or `.xml` that was exported, or a
            released `.pth.tar`.
        model: name of the network; needed for a released checkpoint, which does not say it.
        ema: take a released checkpoint's averaged weights.
        fused: fuse the network for speed; an exported one is as it is.

    Returns:
        The network in eval mode, and the card that describes it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file that is damaged or foreign, or belongs to another model.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no weights file {path}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name the weights file in it, e.g. {path / 'weights.safetensors'}")
    load: Callable[[dict[str, Tensor]], Any]
    if path.suffix in (".onnx", ".xml"):
        network, card = load_artefact(path)
        if ema or model not in (None, card.model):
            raise ValueError(f"{path} is an exported {card.model}; leave --model and --ema out")
        _check_card(path, card)
        _check_answer(path, card, network)
        return network, card
    if path.suffix in (".safetensors", ".ckpt"):
        if ema:
            raise ValueError(f"--ema is for released checkpoints; {path} already holds the weights that its run chose")
        entries, card = (read_weights if path.suffix == ".safetensors" else read_checkpoint)(path)
        if model not in (None, card.model):
            raise ValueError(f"{path} is a {card.model}, not a {model}; leave --model out")
        network = _described_network(path, card)
        load = network.load_state_dict  # strict: nothing may be missing, left over or dropped
    else:
        entries = load_official(path, ema=ema)
        if model is None:
            raise ValueError(f"{path} does not say which model it is; name it, e.g. --model cotnet50")
        check_name(model)
        if "fc.weight" not in entries:
            raise ValueError(f"{path} has no classifier (fc.weight)")
        network = timm.create_model(model, num_classes=len(entries["fc.weight"]))
        card = _released_card(model, len(entries["fc.weight"]))
        load = partial(load_entries, network)
    _check_finite(path, entries)
    try:
        load(entries)
    except (ValueError, RuntimeError) as error:
        problem = str(error).splitlines()[-1].strip()
        raise ValueError(f"{path} does not fit {card.model}: {problem}") from error
    return fuse(network) if fused else network.eval(), card


def _check_card(path: Path, card: WeightsCard) -> None:
    fault = _fault(card)
    if fault:
        raise ValueError(f"{path} cannot be used: {fault}")


@torch.no_grad()
def _check_answer(path: Path, card: WeightsCard, network: nn.Module) -> None:
    """Run an exported network once: nothing else ties it to the size and the classes of its card."""
    try:
        shape = list(network(torch.zeros(1, *card.preprocessing["input_size"])).shape)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit its own description; export it again: {error}") from error
    classes = len(card.class_names)
    if shape != [1, classes]:
        raise ValueError(f"{path} names {classes} classes, but an image's answer is {shape}; export it again")


def _described_network(path: Path, card: WeightsCard) -> nn.Module:
    """The network that a card describes; the card is of unknown origin."""
    _check_card(path, card)
    try:
        check_name(card.model)
        return timm.create_model(card.model, num_classes=len(card.class_names), **card.kwargs)
    # A constructor stumbles over strange arguments in any way.
    except Exception as error:
        raise ValueError(f"{path} describes a network that cannot be built: {error}") from error


def _fault(card: WeightsCard) -> str | None:
    """What is wrong in a card, or None."""
    p: dict[str, Any] = card.preprocessing
    if card.task != "classification":
        return f"it is a network for {card.task}, which no class of a whole image comes out of"
    if p["input_size"][0] != 3:
        return f"its network takes {p['input_size'][0]} channels, and images are read in 3"
    if p["interpolation"] not in INTERPOLATIONS:
        return f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {p['interpolation']!r:.80}"
    if not 0 < p["crop_pct"] <= 1:
        return f"crop_pct must be above 0 and at most 1, got {p['crop_pct']}"
    if not all(map(math.isfinite, p["mean"])) or not all(math.isfinite(s) and s > 0 for s in p["std"]):
        return f"mean must be finite and std above 0, got {p['mean']} and {p['std']}"
    refused = _FORBIDDEN & card.kwargs.keys()
    return f"its network's arguments may not include {', '.join(sorted(refused))}" if refused else None


def _check_finite(path: Path, entries: dict[str, Tensor]) -> None:
    for name, value in entries.items():
        if not value.isfinite().all():
            raise ValueError(f"{path}: {name} holds infinite values or none (NaN); its training has diverged")


def _released_card(model: str, classes: int) -> WeightsCard:
    cfg = timm.get_pretrained_cfg(model)
    assert cfg is not None
    info = ImageNetInfo() if classes == 1000 else None
    names = [info.index_to_description(i) if info else str(i) for i in range(classes)]
    preprocessing = {
        "input_size": list(cfg.input_size),
        "mean": list(cfg.mean),
        "std": list(cfg.std),
        "interpolation": cfg.interpolation,
        "crop_pct": cfg.crop_pct,
    }
    return WeightsCard(model=model, class_names=names, preprocessing=preprocessing)
