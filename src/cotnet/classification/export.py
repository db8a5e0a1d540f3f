"""Classifiers for other runtimes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cotnet.classification.predict import ClassificationModel
from cotnet.exporting.export import ExportReport
from cotnet.exporting.export import export as export_network
from cotnet.exporting.formats import export_files
from cotnet.exporting.images import comparison_images
from cotnet.prediction.stream import read_input
from cotnet.prediction.transform import decoding_options, input_transform


def target_files(stem: Path, forms: Sequence[str]) -> list[Path]:
    """The files that `export` writes."""
    return [path for form in forms for path in export_files(form, stem)]


def export(
    model: ClassificationModel,
    stem: Path,
    forms: Sequence[str],
    *,
    images: Sequence[str] | None = None,
    tolerance: float | None = None,
    size: int | None = None,
) -> Iterator[ExportReport]:
    """Write a classifier as files that take images [N, 3, H, W] and give logits [N, classes].

    Args:
        model: The classifier, not fused, on the CPU.
        stem: Path of the files without ending.
        forms: Any of torch, onnx, openvino.
        images: Files, folders, archives and globs to compare the answers on; default what scikit-image has installed.
        tolerance: Largest error of a logit, relative to the largest; default 1e-4.
        size: Side of the images in pixels; default as in training.

    Raises:
        ValueError: The network cannot be exported, or answers differently afterwards.
    """
    card = model.card
    if size is not None:
        card = replace(card, preprocessing={**card.preprocessing, "input_size": [3, size, size]})
    read = partial(read_input, transform=input_transform(card), **decoding_options(card))
    paths, kind = comparison_images(images)
    options: dict[str, Any] = {"images": paths, "image_kind": kind, "tolerance": tolerance or 1e-4}
    return export_network(model.network, card, stem, forms, read=read, **options)
