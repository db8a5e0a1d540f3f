"""`cotnet validate`, `predict` and `export` with the weights of a segmenter."""

import json
import os
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotnet.cli.coco_set import coco_set
from cotnet.cli.found_report import FoundReport
from cotnet.cli.output import check_folder, leads, open_output, percent, picture_names, plain

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cotnet.detection.evaluate import PixelEvaluation
    from cotnet.detection.predict import Found
    from cotnet.models.weights_file import WeightsCard

BATCH_SIZE = 4


def validate(chosen: Namespace) -> None:
    """Print mean IoU and that of each class, and draw the confusion of pixels where asked to.

    Raises:
        ValueError: the weights or the data are wrong.
    """
    from cotnet.detection.evaluate import evaluate_pixels
    from cotnet.detection.pixels import BACKGROUND
    from cotnet.detection.weights import load_segmenter

    if chosen.plots:
        check_folder("plots", chosen.plots)
    network, card = load_segmenter(Path(chosen.weights), fused=not chosen.no_fuse)
    data = coco_set(chosen, card, batch_size=chosen.batch_size or BATCH_SIZE)
    scores = evaluate_pixels(network, data, size=_size(card))
    if not leads():
        return
    with open_output(chosen.output) as file:
        file.write((_json if chosen.format == "json" else _table)(scores, [BACKGROUND, *card.class_names]))
    if chosen.plots:
        folder = Path(chosen.plots)
        folder.mkdir(parents=True, exist_ok=True)
        scores.tally.draw(card.class_names, folder)


def predict(chosen: Namespace, paths: list[str]) -> None:
    """Print the share of each class in each picture; write coloured pictures and maps of classes where asked to.

    Raises:
        ValueError: an option or the weights are wrong.
        UnfinishedError: some pictures could not be read; they have been named.
    """
    from cotnet.detection.pixels import describe_classes, index_picture, paint
    from cotnet.detection.predict import segment_pictures
    from cotnet.detection.weights import load_segmenter
    from cotnet.inference.pictures import open_picture

    names = picture_names(paths)
    folders = {option: Path(getattr(chosen, option)) for option in ("draw", "masks") if getattr(chosen, option)}
    for option, folder in folders.items():
        check_folder(option, str(folder), inputs=paths, names=names)
    if len(folders) == 2 and folders["draw"].resolve() == folders["masks"].resolve():
        raise ValueError(f"--draw and --masks name the same folder {chosen.draw}, and their files the same pictures")
    network, card = load_segmenter(Path(chosen.weights), fused=not chosen.no_fuse)
    name = iter(names)

    def write(picture: "Found") -> None:
        report.write(picture)
        file = next(name)
        if picture.labels is None:
            return
        for option, folder in folders.items():
            folder.mkdir(parents=True, exist_ok=True)
            if option == "draw":
                paint(open_picture(picture.path), picture.labels).save(folder / file)
            else:
                index_picture(picture.labels, len(card.class_names) + 1).save(folder / file)
                described = describe_classes(card.class_names, card.data["category_ids"])
                (folder / "classes.json").write_text(json.dumps(described, indent=2) + "\n")

    with (
        open_output(chosen.output if leads() else os.devnull) as out,
        FoundReport(
            chosen.format, out, card, columns=["pixels", "share"], head=_head, cells=_cells, line=_line
        ) as report,
    ):
        segment_pictures(
            network,
            card,
            paths,
            write,
            size=_size(card),
            keep_labels=bool(folders),
            batch_size=chosen.batch_size or BATCH_SIZE,
            workers=chosen.workers,
        )
    report.check()


def to_export(weights: Path) -> "tuple[nn.Module, WeightsCard, Callable[[str], Tensor | str]]":
    """The network, a card with the background among its classes, and a reader of pictures as the network's input.

    Raises:
        ValueError: the weights are wrong.
    """
    from torchvision.transforms.functional import to_tensor

    from cotnet.detection.pixels import BACKGROUND
    from cotnet.detection.semantic import to_batch
    from cotnet.detection.weights import load_segmenter
    from cotnet.inference.pictures import read_input

    network, card = load_segmenter(weights)

    def read(path: str) -> "Tensor | str":
        return read_input(path, lambda picture: to_batch([to_tensor(picture)], _size(card))[0][0])

    return network, replace(card, class_names=[BACKGROUND, *card.class_names]), read


def _size(card: "WeightsCard") -> int:
    return card.preprocessing["input_size"][1]


def _head(picture: "Found") -> str:
    return f"{picture.width} x {picture.height} pixels"


def _cells(picture: "Found", one: dict[str, Any]) -> list[object]:
    return [one["area"], f"{_share(picture, one):.6f}"]


def _line(picture: "Found", one: dict[str, Any], name: str) -> str:
    return f"{_share(picture, one):6.1%} {name}"


def _share(picture: "Found", one: dict[str, Any]) -> float:
    return one["area"] / (picture.width * picture.height)


def _table(scores: "PixelEvaluation", names: list[str]) -> str:
    width = max(map(len, names))
    rows = [f"{name:{width}}  {percent(iou):>6}" for name, iou in zip(names, scores.per_class, strict=True)]
    summary = (
        f"mean IoU {percent(scores.mean_iou)}  pixels right {percent(scores.pixels)}  "
        f"{scores.images} pictures  {scores.images_per_s:.1f} images/s"
    )
    return "\n".join([f"{'':{width}}     IoU", *rows, "", summary]) + "\n"


def _json(scores: "PixelEvaluation", names: list[str]) -> str:
    content = {
        "images": scores.images,
        "images_per_s": scores.images_per_s,
        "mean_iou": plain(scores.mean_iou),
        "pixels": scores.pixels,
        "per_class": {name: plain(iou) for name, iou in zip(names, scores.per_class, strict=True)},
    }
    return json.dumps(content, indent=2) + "\n"
