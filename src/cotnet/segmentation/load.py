"""Segmenters from weights files."""

from functools import partial
from pathlib import Path

from cotnet.detection.load import check_coco_card
from cotnet.files.weights import WeightsCard
from cotnet.models.weights_file import WeightsFile, open_weights
from cotnet.prediction.network import build_network
from cotnet.segmentation.network import SemanticPyramid, create_segmenter

TASK = "segmentation"


def load_segmenter(weights: str | Path | WeightsFile, *, fused: bool = False) -> tuple[SemanticPyramid, WeightsCard]:
    """Build the segmenter of a weights file, ready for inference.

    Args:
        weights: ``weights.safetensors`` or a ``.ckpt`` of a training run of a segmenter.
        fused: Fused for inference, which cannot be trained; see `cotnet.fuse`.

    Returns:
        The segmenter in eval mode, and the card that describes it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file that is damaged or foreign, or of another kind of network.
    """
    file = open_weights(weights)
    card = check_coco_card(file, task=TASK)
    create = partial(create_segmenter, card.model, num_classes=len(card.class_names))
    return build_network(file.path, card, file.entries, create, fused=fused), card
