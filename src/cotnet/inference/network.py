"""A trained network with what it needs, from any weights file that the package knows."""

from pathlib import Path

import timm
from timm.data import ImageNetInfo
from torch import nn

from cotnet.models import load_entries, load_official
from cotnet.models.names import check_name
from cotnet.models.weights_file import WeightsCard, read_checkpoint, read_weights


def load_network(path: Path, *, model: str | None = None, ema: bool = False) -> tuple[nn.Module, WeightsCard]:
    """Build the network of a weights file, ready for inference.

    Args:
        path: `weights.safetensors` or a `.ckpt` of a training run, or a released `.pth.tar`.
        model: name of the network; needed for a released checkpoint, which does not say it.
        ema: take a released checkpoint's averaged weights.

    Returns:
        The network in eval mode, and the card that describes it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file that is damaged or foreign, or belongs to another model.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no weights file {path}")
    if path.suffix in (".safetensors", ".ckpt"):
        entries, card = (read_weights if path.suffix == ".safetensors" else read_checkpoint)(path)
        if model not in (None, card.model):
            raise ValueError(f"{path} is a {card.model}, not a {model}; leave --model out")
        network = timm.create_model(card.model, num_classes=len(card.class_names), **card.kwargs)
    else:
        entries = load_official(path, ema=ema)
        if model is None:
            raise ValueError(f"{path} does not say which model it is; name it, e.g. --model cotnet50")
        check_name(model)
        if "fc.weight" not in entries:
            raise ValueError(f"{path} has no classifier (fc.weight)")
        network = timm.create_model(model, num_classes=len(entries["fc.weight"]))
        card = _released_card(model, len(entries["fc.weight"]))
    try:
        load_entries(network, entries)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return network.eval(), card


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
