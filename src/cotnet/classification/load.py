"""A trained classifier with what it needs, from any weights file that the package knows."""

from functools import partial
from pathlib import Path

import timm
import torch
from timm.data import ImageNetInfo
from torch import nn

from cotnet.exporting.runtimes import load_exported
from cotnet.files.weights import WeightsCard
from cotnet.models import load_entries
from cotnet.models.family import check_name
from cotnet.models.weights_file import EXPORTED, WeightsFile, open_weights
from cotnet.prediction.network import build_network, check_card


def load_network(
    weights: str | Path | WeightsFile, *, model: str | None = None, ema: bool = False, fused: bool = False
) -> tuple[nn.Module, WeightsCard]:
    """Build the classifier of a weights file, ready for inference.

    Args:
        weights: ``weights.safetensors`` or a ``.ckpt`` of a training run, an exported ``.onnx`` or ``.xml``, or a
            released ``.pth.tar``.
        model: Name of the network; needed for a released checkpoint, which does not say it.
        ema: Take a released checkpoint's averaged weights.
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
        return network, card
    if file.card is not None:
        if ema:
            raise ValueError(f"--ema is for released checkpoints; {path} already holds the weights that its run chose")
        if model not in (None, file.card.model):
            raise ValueError(f"{path} is a {file.card.model}, not a {model}; leave --model out")
        card = file.card
        check_card(path, card, task="classification")
        create = partial(timm.create_model, card.model, num_classes=len(card.class_names))
        return build_network(path, card, file.entries, create, fused=fused), card
    if model is None:
        raise ValueError(f"{path} does not say which model it is; name it, e.g. --model cotnet50")
    check_name(model)
    if "fc.weight" not in file.entries:
        raise ValueError(f"{path} has no classifier (fc.weight)")
    card = _released_card(model, len(file.entries["fc.weight"]))
    create = partial(timm.create_model, model, num_classes=len(card.class_names))
    return build_network(path, card, file.entries, create, fused=fused, load=load_entries), card


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
