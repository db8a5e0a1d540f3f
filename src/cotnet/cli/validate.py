"""`cotnet validate WEIGHTS [DATA]`."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotnet.cli import detection, segmentation
from cotnet.cli.output import check_output, is_rank_zero, open_output
from cotnet.cli.parser import Parser, at_least
from cotnet.cli.task import add_validation_arguments, task_of

if TYPE_CHECKING:
    from cotnet.classification.evaluate import Scores
    from cotnet.data import ImageDataModule
    from cotnet.files.weights import WeightsCard

DESCRIPTION = """Measure trained weights: top-1, top-5, per-class accuracy, images per second.

Of a detector average precision, of a segmenter IoU of each class.
WEIGHTS is weights.safetensors or a .ckpt of a training run, an .onnx or .xml of cotnet export, or a released .pth.tar
together with --model.
DATA is a folder with val/CLASS/*.jpg or CLASS/*.jpg, an .npz pack, a Hugging Face data set on disk, or a folder or URL
of tar shards; without it, the images that the weights were validated on in training. Its classes must be the weights'
classes. torchrun --nproc-per-node 8 -m cotnet validate ... shares the images among processes, each image once.
A detector's or a segmenter's DATA is a folder or a zip archive with images/ and val.json in COCO's format."""

NAME_THEM = "name the images: cotnet validate WEIGHTS DATA"


def run(arguments: list[str]) -> None:
    """Validate as the arguments say.

    Raises:
        ValueError: an option, the weights or the data are wrong.
        OSError: a file is missing or cannot be written.
    """
    parser = Parser("validate", DESCRIPTION)
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("data", metavar="DATA", nargs="?")
    parser.add_argument("--model", metavar="NAME", help="the network of a released checkpoint")
    parser.add_argument("--ema", action="store_true", help="a released checkpoint's averaged weights")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images at a time; default 64, of others 4")
    parser.add_argument("--num-workers", type=int, default=os.cpu_count() or 1, metavar="N", help="decoding processes")
    parser.add_argument("--no-fuse", action="store_true", help="the network as it was trained; slower")
    parser.add_argument("--format", choices=["table", "json"], default="table", help="default table")
    parser.add_argument("--output", metavar="FILE", help="write there instead of to standard output")
    add_validation_arguments(parser)
    args = parser.parse_args(arguments)
    at_least(1, "batch-size", 1 if args.batch_size is None else args.batch_size)
    at_least(0, "num_workers", args.num_workers)
    check_output(args.output, inputs=[args.weights, args.data or ""])
    task = task_of(Path(args.weights), args)
    if task != "classification":
        (detection if task == "detection" else segmentation).validate(args)
        return
    if args.data is not None and "://" not in args.data and not Path(args.data).exists():
        raise ValueError(
            f"data {args.data!r} does not exist; give a folder with val/CLASS/*.jpg or CLASS/*.jpg, or an .npz pack"
        )

    from cotnet.classification.load import load_network

    network, card = load_network(Path(args.weights), model=args.model, ema=args.ema, fused=not args.no_fuse)

    from cotnet.classification.evaluate import evaluate

    data = _data(args.data, card, batch_size=args.batch_size or 64, num_workers=args.num_workers)
    try:
        data.setup("validate")
        found = data.class_names
    except ValueError as error:
        if args.data is not None:
            raise
        raise ValueError(f"the images that the weights record are not usable ({error}); {NAME_THEM}") from error
    outputs = _outputs(card.class_names, found, anonymous=args.model is not None)
    scores = evaluate(network, data, classes=len(card.class_names), outputs=outputs)
    text = (_json if args.format == "json" else _table)(scores, card.class_names)
    if is_rank_zero():
        with open_output(args.output) as file:
            file.write(text)


def _data(path: str | None, card: "WeightsCard", *, batch_size: int, num_workers: int) -> "ImageDataModule":
    """The data module for a path, or the one that the card records, with the card's preprocessing."""
    from cotnet.data.open import open_data, open_recorded

    p = card.preprocessing
    options: dict[str, Any] = {
        "size": p["input_size"][-1],
        "batch_size": batch_size,
        "num_workers": num_workers,
        "mean": tuple(p["mean"]),
        "std": tuple(p["std"]),
        "interpolation": p["interpolation"],
        "crop_pct": p["crop_pct"],
    }
    if path is not None:
        return open_data(path, class_names=card.class_names, **options)
    try:
        return open_recorded(card.data, **options)
    except ValueError as error:
        raise ValueError(f"{error}; {NAME_THEM}") from error


def _outputs(known: list[str], found: list[str], *, anonymous: bool) -> list[int] | None:
    """The weights' output for each class of the data, `None` where their order is the same.

    The classes must be the same by name; those of a released checkpoint are matched by their number.

    Raises:
        ValueError: The classes differ.
    """
    if known == found or (anonymous and len(known) == len(found)):
        return None
    if sorted(known) == sorted(found) and len(set(known)) == len(known):
        return [known.index(name) for name in found]
    sides = {"the weights": _listed(set(known) - set(found)), "the data": _listed(set(found) - set(known))}
    what = "; ".join(
        f"only {side} {'know' if side == 'the weights' else 'has'} {names}" for side, names in sides.items() if names
    )
    raise ValueError(f"the weights have {len(known)} classes, the data {len(found)}" + (f"; {what}" if what else ""))


def _listed(names: set[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def _json(scores: "Scores", names: list[str]) -> str:
    per_class = {name: None if x != x else x for name, x in zip(names, scores.per_class, strict=True)}
    return json.dumps({**vars(scores), "per_class": per_class}, indent=2) + "\n"


def _table(scores: "Scores", names: list[str]) -> str:
    width = max(map(len, names))
    rows = [f"{name:{width}}  {x:6.1%}" for name, x in zip(names, scores.per_class, strict=True)]
    summary = (
        f"top-1 {scores.top1:.2%}  top-5 {scores.top5:.2%}  {scores.images} images  {scores.images_per_s:.1f} images/s"
    )
    return "\n".join([*rows, "", summary]) + "\n"
