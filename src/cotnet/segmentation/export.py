"""Segmenters for other runtimes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.transforms.functional import to_tensor

from cotnet.classification.export import target_files
from cotnet.exporting.export import ExportReport
from cotnet.exporting.export import export as export_network
from cotnet.exporting.images import comparison_images
from cotnet.prediction.stream import read_input
from cotnet.prediction.transform import decoding_options
from cotnet.segmentation.labels import BACKGROUND
from cotnet.segmentation.network import to_batch
from cotnet.segmentation.predict import SegmentationModel

__all__ = ["export", "target_files"]


def export(
    model: SegmentationModel,
    stem: Path,
    forms: Sequence[str],
    *,
    images: Sequence[str] | None = None,
    tolerance: float | None = None,
    size: int | None = None,
) -> Iterator[ExportReport]:
    """Write a segmenter as files that take images [N, 3, H, W] and give logits [N, classes, H, W].

    The background is the first of its classes. Arguments and errors as of `cotnet.classification.export.export`.
    """
    card, shorter_side = replace(model.card, class_names=[BACKGROUND, *model.class_names]), model.size
    if size is not None:
        card = replace(card, preprocessing={**card.preprocessing, "input_size": [3, size, size]})

    decoding = decoding_options(card)

    def read(path: str) -> Tensor | str:
        return read_input(path, lambda image: to_batch([to_tensor(image)], shorter_side)[0][0], **decoding)

    paths, kind = comparison_images(images)
    options: dict[str, Any] = {"images": paths, "image_kind": kind, "tolerance": tolerance or 1e-4}
    return export_network(model.network, card, stem, forms, read=read, batch_size=1, **options)
