"""What kind of network a weights file holds, and the options that only some kinds have a use for."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

_KINDS = {"classification": "classifier", "detection": "detector", "segmentation": "segmenter"}
_SOME: dict[str, tuple[str, ...]] = {
    "topk": ("classification",),
    "model": ("classification",),
    "ema": ("classification",),
    "size": ("classification", "segmentation"),
    "tolerance": ("classification", "segmentation"),
    "threshold": ("detection",),
    "annotations": ("detection", "segmentation"),
    "images_folder": ("detection", "segmentation"),
    "plots": ("detection", "segmentation"),
    "draw": ("detection", "segmentation"),
    "masks": ("segmentation",),
}


def add_validation_arguments(parser: ArgumentParser) -> None:
    """The options of `validate` that are for detectors and segmenters."""
    group = parser.add_argument_group("detectors and segmenters")
    group.add_argument("--annotations", metavar="NAME", help="COCO file in DATA; default val.json")
    group.add_argument("--images-folder", metavar="NAME", help="folder of images in DATA; default images")
    group.add_argument("--plots", metavar="FOLDER", help="draw precision over recall, confused classes, samples there")


def add_prediction_arguments(parser: ArgumentParser) -> None:
    """The options of `predict` that are for detectors and segmenters."""
    group = parser.add_argument_group("detectors and segmenters")
    group.add_argument("--threshold", type=float, metavar="P", help="least score of a detection; default 0.5")
    group.add_argument("--draw", metavar="FOLDER", help="write the images with boxes and masks, or coloured, there")
    group.add_argument("--masks", metavar="FOLDER", help="write each pixel's class as PNG, and classes.json, there")


def task_of(weights: Path, args: Namespace) -> str:
    """`"classification"`, `"detection"` or `"segmentation"`; options that do not fit the kind are refused.

    Raises:
        ValueError: an option is for another kind of weights, or the kind is none of these.
    """
    from cotnet.files.weights import read_card

    card = read_card(weights) if weights.is_file() else None
    task = "classification" if card is None else card.task
    if task not in _KINDS:
        raise ValueError(f"{weights} is a network for {task}, of which this command knows nothing")
    for name, tasks in _SOME.items():
        if task not in tasks and getattr(args, name, None) not in (None, False):
            kinds = " and ".join(f"{_KINDS[one]}s" for one in tasks)
            raise ValueError(f"--{name.replace('_', '-')} is for {kinds}, and {weights} is a {_KINDS[task]}")
    return task
