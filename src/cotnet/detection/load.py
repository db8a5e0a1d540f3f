"""Detectors from weights files, and the weights that a detector starts from."""

import warnings
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from cotnet.detection.networks import create_detector, detection_limits, set_detection_limits
from cotnet.files.weights import WeightsCard
from cotnet.models import load_entries
from cotnet.models.weights_file import WeightsFile, open_weights
from cotnet.prediction.network import build_network, check_card

TASK = "detection"


def load_detector(
    weights: str | Path | WeightsFile,
    *,
    fused: bool = False,
    box_detections_per_img: int | None = None,
    min_score: float | None = None,
) -> tuple[GeneralizedRCNN, WeightsCard]:
    """Build the detector of a weights file, ready for inference.

    Args:
        weights: ``weights.safetensors`` or a ``.ckpt`` of a training run of a detector.
        fused: Fused for inference, which cannot be trained; see `cotnet.fuse`.
        box_detections_per_img: Largest number of objects in an image; default as in training.
        min_score: The detector keeps objects of this score, too, where its own limit is higher.

    Returns:
        The detector in eval mode, and the card that describes it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file that is damaged or foreign, or of another kind of network.
    """
    file = open_weights(weights)
    card = check_coco_card(file, task=TASK)
    create = partial(create_detector, backbone=card.model, num_classes=len(card.class_names))
    network = build_network(file.path, card, file.entries, create, fused=fused)
    set_detection_limits(network, box_detections_per_img=box_detections_per_img)
    if min_score is not None and min_score < detection_limits(network)[1]:
        set_detection_limits(network, box_score_thresh=min_score)
    return network, card


def check_coco_card(file: WeightsFile, *, task: str) -> WeightsCard:
    """The card of a network that was trained on a COCO set.

    Raises:
        ValueError: There is none, or it is for another task, or without the categories' ids.
    """
    card, path = file.card, file.path
    if card is None:
        raise ValueError(f"{path} does not describe its network; use a file that `cotnet train` wrote")
    check_card(path, card, task=task)
    ids = card.data.get("category_ids", [])
    if not (isinstance(ids, list) and len(ids) == len(card.class_names) and all(isinstance(i, int) for i in ids)):
        raise ValueError(f"{path} is damaged: it has the category ids {ids!r:.80} for {len(card.class_names)} classes")
    return card


def load_start(network: Any, entries: dict[str, Tensor]) -> None:
    """Start a detector from the entries of a classifier, of a released detector's backbone, or of a detector of ours.

    Of a detector every entry of the same shape is taken; what differs, such as the outputs for other classes, keeps its
    random weights, and a warning counts it.

    Args:
        network: The detector.
        entries: State dict to start from, in our names.

    Raises:
        ValueError: The weights belong to another network.
    """
    if not any(name.startswith("backbone.body.") for name in entries):
        load_entries(network.backbone.body, entries)
        return
    expected = network.state_dict()
    fitting = {n: value for n, value in entries.items() if n in expected and expected[n].shape == value.shape}
    missing = [name for name in expected if name.startswith("backbone.body.") and name not in fitting]
    if missing:
        raise ValueError(f"the weights belong to another backbone: {missing[0]} is missing or of another shape")
    random = [name for name in expected if name not in fitting]
    if random:
        shown = f"{', '.join(random[:4])}{' ...' if len(random) > 4 else ''}"
        text = f"{len(random)} of {len(expected)} entries keep their random weights: {shown}"
        warnings.warn(text, UserWarning, stacklevel=2)
    network.load_state_dict(fitting, strict=False)
