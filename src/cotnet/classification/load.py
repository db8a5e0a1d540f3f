"""A trained classifier with what it needs, from any weights file that the package knows."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import ImageNetInfo
from torch import nn

from cotnet.exporting.runtimes import load_exported
from cotnet.files.weights import WeightsCard
from cotnet.models import load_entries
from cotnet.models.family import check_name
from cotnet.models.released import without_prefixes
from cotnet.models.weights_file import EXPORTED, WeightsFile, open_weights
from cotnet.prediction.network import build_network, check_card


def load_network(
    weights: str | Path | WeightsFile,
    *,
    model: str | None = None,
    ema: bool = False,
    class_names: str | Path | Sequence[str] | None = None,
    fused: bool = False,
) -> tuple[nn.Module, WeightsCard]:
    """Build the classifier of a weights file, ready for inference.

    Args:
        weights: ``weights.safetensors`` or a ``.ckpt`` of a training run, an exported ``.onnx`` or ``.xml``, or what
            else `cotnet.models.weights_file.open_weights` reads.
        model: Name of the network, where the file does not say it.
        ema: Take the averaged weights of a checkpoint that has both.
        class_names: Names of the classes, where the file does not say them, or a file with one a line.
        fused: Fuse the network for speed; an exported one is as it is.

    Returns:
        The network in eval mode, and the card that describes it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file that is damaged or foreign, or belongs to another model.
    """
    file = open_weights(weights, ema=ema)
    path = file.path
    if path.suffix in EXPORTED:
        network, card = load_exported(path)
        if ema or model not in (None, card.model):
            raise ValueError(f"{path} is an exported {card.model}; leave --model and --ema out")
        check_card(path, card, task="classification")
        _check_answer(path, card, network)
        return network, _renamed(card, class_names)
    load: Any = nn.Module.load_state_dict  # nothing may be missing or left over
    if file.card is not None:
        if ema:
            raise ValueError(f"--ema is for released checkpoints; {path} already holds the weights that its run chose")
        if model not in (None, file.card.model):
            raise ValueError(f"{path} is a {file.card.model}, not a {model}; leave --model out")
        card = file.card
    else:
        file, card = _describe(file, model)
        load = load_entries
    check_card(path, card, task="classification")
    create = partial(timm.create_model, card.model, num_classes=len(card.class_names))
    return build_network(path, card, file.entries, create, fused=fused, load=load), _renamed(card, class_names)


def _describe(file: WeightsFile, model: str | None) -> tuple[WeightsFile, WeightsCard]:
    """The file without prefixes before its entries, and a card for it, of what it says and what timm knows."""
    path, name = file.path, model or file.model
    if name is None or (model is None and not timm.is_model(name)):
        raise ValueError(f"{path} does not say which model it is; name it, e.g. --model cotnet50")
    check_name(name)
    cfg = timm.get_pretrained_cfg(name)
    assert cfg is not None
    with torch.device("meta"):
        expected = timm.create_model(name, **(file.kwargs or {} if model is None else {})).state_dict()
    entries = without_prefixes(file.entries, expected)
    head = next(iter([cfg.classifier] if isinstance(cfg.classifier, str) else cfg.classifier or ["fc"]))
    if f"{head}.weight" not in entries:
        raise ValueError(
            f"{path} is another model than {name}, or has no classifier: {name} has {head}.weight and "
            f"{next(iter(expected))}, the file has {', '.join(list(file.entries)[:3])} and so on"
        )
    count = len(entries[f"{head}.weight"])
    preprocessing = file.preprocessing or {
        "input_size": cfg.input_size,
        "mean": cfg.mean,
        "std": cfg.std,
        "interpolation": cfg.interpolation,
        "crop_pct": cfg.crop_pct,
    }
    plain = {key: list(value) if isinstance(value, (list, tuple)) else value for key, value in preprocessing.items()}
    names = file.class_names if file.class_names and len(file.class_names) == count else placeholder_names(count)
    values = {"model": name, "task": "classification", "kwargs": file.kwargs or {}, "class_names": names}
    card = WeightsCard.from_plain({**values, "preprocessing": plain, "data": {}, "scores": {}}, name=str(path))
    return replace(file, entries=entries), card


def placeholder_names(count: int) -> list[str]:
    """Names of classes that a file does not say: ImageNet's of 1,000 classes, else their numbers."""
    info = ImageNetInfo() if count == 1000 else None
    return [info.index_to_description(i) if info else str(i) for i in range(count)]


def _renamed(card: WeightsCard, names: str | Path | Sequence[str] | None) -> WeightsCard:
    if names is None:
        return card
    if isinstance(names, (str, Path)):
        lines = Path(names).read_text(encoding="utf-8-sig").splitlines()
        names = [line.strip() for line in lines if line.strip()]
    if len(names) != len(card.class_names):
        raise ValueError(f"--class-names has {len(names)} names, the network {len(card.class_names)} classes")
    return replace(card, class_names=list(names))


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
