"""`cotnet validate`, `predict` and `export` with the weights of a segmenter."""

import json
import os
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotnet.cli.found_report import FoundReport
from cotnet.cli.output import check_folder, image_names, is_rank_zero, open_output, percent, plain

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cotnet.detection.evaluate import PixelEvaluation
    from cotnet.detection.predict import Found
    from cotnet.files.weights import WeightsCard

BATCH_SIZE = 4


def validate(args: Namespace) -> None:
    """Print mean IoU and that of each class, and draw the confusion of pixels where asked to.

    Raises:
        ValueError: the weights or the data are wrong.
    """
    from cotnet.detection.coco.source import open_source
    from cotnet.detection.evaluate import evaluate_pixels
    from cotnet.detection.load import load_segmenter
    from cotnet.segmentation.labels import BACKGROUND

    if args.plots:
        check_folder("plots", args.plots)
    network, card = load_segmenter(Path(args.weights), fused=not args.no_fuse)
    data = open_source(
        card,
        args.data,
        annotations=args.annotations,
        images=args.images_folder,
        batch_size=args.batch_size or BATCH_SIZE,
        num_workers=args.num_workers,
    )
    scores = evaluate_pixels(network, data, size=_size(card))
    if not is_rank_zero():
        return
    with open_output(args.output) as file:
        file.write((_json if args.format == "json" else _table)(scores, [BACKGROUND, *card.class_names]))
    if args.plots:
        folder = Path(args.plots)
        folder.mkdir(parents=True, exist_ok=True)
        scores.tally.draw(card.class_names, folder)


def predict(args: Namespace, paths: list[str]) -> None:
    """Print the share of each class in each image; write coloured images and maps of classes where asked to.

    Raises:
        ValueError: an option or the weights are wrong.
        UnfinishedError: some images could not be read; they have been named.
    """
    from cotnet.detection.load import load_segmenter
    from cotnet.detection.predict import segment_images
    from cotnet.prediction.inputs import open_image
    from cotnet.segmentation.labels import describe_classes, index_image, paint

    names = image_names(paths)
    folders = {option: Path(getattr(args, option)) for option in ("draw", "masks") if getattr(args, option)}
    for option, folder in folders.items():
        check_folder(option, str(folder), inputs=paths, names=names)
    if len(folders) == 2 and folders["draw"].resolve() == folders["masks"].resolve():
        raise ValueError(f"--draw and --masks name the same folder {args.draw}, and their files the same images")
    network, card = load_segmenter(Path(args.weights), fused=not args.no_fuse)
    name = iter(names)

    def write(image: "Found") -> None:
        report.write(image)
        file = next(name)
        if image.labels is None:
            return
        for option, folder in folders.items():
            folder.mkdir(parents=True, exist_ok=True)
            if option == "draw":
                paint(open_image(image.path), image.labels).save(folder / file)
            else:
                index_image(image.labels, len(card.class_names) + 1).save(folder / file)
                described = describe_classes(card.class_names, card.data["category_ids"])
                (folder / "classes.json").write_text(json.dumps(described, indent=2) + "\n")

    with (
        open_output(args.output if is_rank_zero() else os.devnull) as out,
        FoundReport(
            args.format, out, card, columns=["pixels", "share"], head=_head, cells=_cells, line=_line
        ) as report,
    ):
        segment_images(
            network,
            card,
            paths,
            write,
            size=_size(card),
            keep_labels=bool(folders),
            batch_size=args.batch_size or BATCH_SIZE,
            num_workers=args.num_workers,
        )
    report.check()


def to_export(weights: Path) -> "tuple[nn.Module, WeightsCard, Callable[[str], Tensor | str]]":
    """The network, a card with the background among its classes, and a reader of images as the network's input.

    Raises:
        ValueError: the weights are wrong.
    """
    from torchvision.transforms.functional import to_tensor

    from cotnet.detection.load import load_segmenter
    from cotnet.prediction.inputs import read_input
    from cotnet.segmentation.labels import BACKGROUND
    from cotnet.segmentation.network import to_batch

    network, card = load_segmenter(weights)

    def read(path: str) -> "Tensor | str":
        return read_input(path, lambda image: to_batch([to_tensor(image)], _size(card))[0][0])

    return network, replace(card, class_names=[BACKGROUND, *card.class_names]), read


def _size(card: "WeightsCard") -> int:
    return card.preprocessing["input_size"][1]


def _head(image: "Found") -> str:
    return f"{image.width} x {image.height} pixels"


def _cells(image: "Found", one: dict[str, Any]) -> list[object]:
    return [one["area"], f"{_share(image, one):.6f}"]


def _line(image: "Found", one: dict[str, Any], name: str) -> str:
    return f"{_share(image, one):6.1%} {name}"


def _share(image: "Found", one: dict[str, Any]) -> float:
    return one["area"] / (image.width * image.height)


def _table(scores: "PixelEvaluation", names: list[str]) -> str:
    width = max(map(len, names))
    rows = [f"{name:{width}}  {percent(iou):>6}" for name, iou in zip(names, scores.per_class, strict=True)]
    summary = (
        f"mean IoU {percent(scores.mean_iou)}  pixels right {percent(scores.pixels)}  "
        f"{scores.images} images  {scores.images_per_s:.1f} images/s"
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
