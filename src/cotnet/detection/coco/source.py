"""The record of a COCO set in a weights file: training writes it, validation finds the images by it."""

from pathlib import Path
from typing import Any

from cotnet.detection.coco.archive import open_files
from cotnet.detection.coco.layout import find_layout
from cotnet.detection.coco.module import CocoData
from cotnet.files.weights import WeightsCard
from cotnet.training.module import class_path

_ARGUMENTS = ("path", "train", "val", "images", "masks", "apply_orientation", "val_fraction", "split_seed")


def describe_source(data: Any) -> dict[str, Any]:
    """The entry ``data`` of a card for a network that is trained on a COCO set.

    Args:
        data: The data module, set up.

    Raises:
        ValueError: It serves images of another kind.
    """
    if not isinstance(data, CocoData):
        raise ValueError(f"detectors and segmenters train on cotnet.detection.CocoData, not on {class_path(data)}")
    return {"class_path": class_path(data), "init_args": data.source, "category_ids": data.category_ids}


def open_source(
    card: WeightsCard,
    path: str | None = None,
    *,
    annotations: str | None = None,
    images: str | None = None,
    batch_size: int,
    num_workers: int,
    skip_unreadable: int = 0,
) -> CocoData:
    """The set to validate weights on, checked and set up.

    Args:
        card: The card of the weights.
        path: A folder or zip archive; None for the set that the card records.
        annotations: Name of the annotation file in the set; None for the recorded name or the default.
        images: Name of the images' folder in the set; None for the recorded name or the default.
        batch_size: Images at a time.
        num_workers: Loader processes.
        skip_unreadable: The number of unusable images to tolerate.

    Raises:
        ValueError: No set is named or recorded, it cannot be used, or its classes are not those of the weights.
    """
    recorded = card.data.get("init_args", {})
    recorded = recorded if isinstance(recorded, dict) else {}
    source = {key: recorded[key] for key in _ARGUMENTS if key in recorded}
    if path is not None and str(Path(path).absolute()) != source.get("path"):
        source = {"path": path, "masks": source.get("masks", False)}
        if annotations is None:
            layout = find_layout(open_files(path))
            annotations = layout.val or layout.train or layout.test
    if "path" not in source:
        raise ValueError(
            "the weights do not record the images that they were validated on; name them: cotnet validate WEIGHTS DATA"
        )
    source |= {key: value for key, value in (("val", annotations), ("images", images)) if value is not None}
    data = CocoData(**source, batch_size=batch_size, num_workers=num_workers, skip_unreadable=skip_unreadable)
    data.expect_classes(card.class_names, card.data["category_ids"])
    data.setup("validate")
    data.check_images()
    return data
