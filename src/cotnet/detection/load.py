"""Detectors and segmenters from weights files, and the weights that a detector starts from."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from cotnet.detection.networks import create_detector
from cotnet.files.weights import WeightsCard, read_checkpoint, read_weights
from cotnet.fusing.api import fuse
from cotnet.models import load_entries
from cotnet.segmentation.network import SemanticPyramid, create_segmenter

TASK, SEGMENTATION = "detection", "segmentation"
# What would make timm open other files on behalf of a weights file.
_FORBIDDEN = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}


def load_detector(path: Path, *, fused: bool = False) -> tuple[GeneralizedRCNN, WeightsCard]:
    """Build the detector of a weights file, ready for inference.

    Args:
        path: `weights.safetensors` or a `.ckpt` of a training run of a detector.
        fused: fused for inference, which cannot be trained; see `cotnet.fuse`.

    Returns:
        The detector in eval mode, and the card that describes it.

    Raises:
        ValueError: a file that is missing, damaged or foreign, or of another kind of network.
    """
    return _load(path, TASK, lambda card: {"backbone": card.model}, create_detector, fused=fused)


def load_segmenter(path: Path, *, fused: bool = False) -> tuple[SemanticPyramid, WeightsCard]:
    """Build the segmenter of a weights file, ready for inference; arguments and errors as of `load_detector`."""
    return _load(path, SEGMENTATION, lambda card: {"name": card.model}, create_segmenter, fused=fused)


def _load(
    path: Path, task: str, named: Callable[[WeightsCard], dict[str, str]], create: Callable[..., Any], *, fused: bool
) -> tuple[Any, WeightsCard]:
    entries, card = (read_checkpoint if path.suffix == ".ckpt" else read_weights)(path)
    if card.task != task:
        raise ValueError(f"{path} is a network for {card.task}, not for {task}")
    ids = card.data.get("category_ids", [])
    if not (isinstance(ids, list) and len(ids) == len(card.class_names) and all(isinstance(i, int) for i in ids)):
        raise ValueError(f"{path} is damaged: it has the category ids {ids!r:.80} for {len(card.class_names)} classes")
    refused = _FORBIDDEN & ({*card.kwargs} | {*_options(card.kwargs)})
    if refused:
        raise ValueError(f"{path} cannot be used: its arguments may not include {', '.join(sorted(refused))}")
    try:
        network = create(num_classes=len(card.class_names), **named(card), **card.kwargs)
    # A constructor stumbles over strange arguments in any way.
    except Exception as error:
        raise ValueError(f"{path} describes a network for {task} that cannot be built: {error}") from error
    for name, value in entries.items():
        if not value.isfinite().all():
            raise ValueError(f"{path}: {name} holds infinite values or none (NaN); its training has diverged")
    try:
        network.load_state_dict(entries)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit {card.model}: {str(error).splitlines()[-1].strip()}") from error
    network.eval()
    return (fuse(network) if fused else network), card


def load_start(network: Any, entries: dict[str, Tensor]) -> None:
    """Start a detector from the entries of a classifier, of a released detector's backbone, or of a detector of ours.

    Of a detector every entry of the same shape is taken; what differs, such as the outputs for other classes, keeps its
    random weights, and a warning counts it.

    Raises:
        ValueError: the weights belong to another network.
    """
    if not any(name.startswith("backbone.body.") for name in entries):
        load_entries(network.backbone.body, entries)
        return
    own = network.state_dict()
    fitting = {name: value for name, value in entries.items() if name in own and own[name].shape == value.shape}
    lacking = [name for name in own if name.startswith("backbone.body.") and name not in fitting]
    if lacking:
        raise ValueError(f"the weights belong to another backbone: {lacking[0]} is missing or of another shape")
    anew = [name for name in own if name not in fitting]
    if anew:
        text = f"{len(anew)} of {len(own)} entries start anew: {', '.join(anew[:4])}{' ...' if len(anew) > 4 else ''}"
        warnings.warn(text, UserWarning, stacklevel=2)
    network.load_state_dict(fitting, strict=False)


def _options(kwargs: dict[str, Any]) -> dict[str, Any]:
    options = kwargs.get("backbone_options") or {}
    return options if isinstance(options, dict) else {}
