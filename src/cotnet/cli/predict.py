"""`cotnet predict WEIGHTS IMAGE ...`."""

import itertools
import json
import os
from pathlib import Path
from typing import Any

from cotnet.cli.output import check_folder, check_output, image_names, open_output
from cotnet.cli.parser import Parser, add_run_arguments, add_weights_arguments, at_least, check_options

DESCRIPTION = """Name what is in images; with a detector, find where; with a segmenter, name every pixel.

WEIGHTS is weights.safetensors or a .ckpt of a training run, an .onnx or .xml of cotnet export, or a released .pth.tar
together with --model. An image that cannot be read is named, the others are predicted all the same, and the exit
status is then 2. Images are decoded in parallel and seen upright, as their EXIF orientation says; memory does not
grow with their number.
torchrun --nproc-per-node 8 -m cotnet predict ... shares the images among processes."""

_ALIGNED = 1000  # images whose paths the table's first column is as wide as


def run(arguments: list[str]) -> None:
    """Predict as the arguments say.

    Raises:
        ValueError: An option, the weights or the images are wrong.
        OSError: A file is missing or cannot be written.
        UnfinishedError: Some images could not be read; they have been named.
    """
    parser = Parser("predict", DESCRIPTION)
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="file, folder (searched through), .tar, or glob")
    add_weights_arguments(parser)
    parser.add_argument("--topk", type=int, metavar="K", help="classes an image, at most all; default 5")
    add_run_arguments(parser, batch_size=32, formats=["table", "csv", "json"])
    group = parser.add_argument_group("detectors and segmenters")
    group.add_argument("--threshold", type=float, metavar="P", help="least score of a detection; default 0.5")
    group.add_argument("--draw", metavar="FOLDER", help="write the images with boxes and masks, or coloured, there")
    group.add_argument("--masks", metavar="FOLDER", help="write each pixel's class as PNG, and classes.json, there")
    args = parser.parse_args(arguments)
    at_least(1, "topk", 1 if args.topk is None else args.topk)
    at_least(1, "batch-size", 1 if args.batch_size is None else args.batch_size)
    at_least(0, "num-workers", args.num_workers)
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise ValueError(f"--threshold must be from 0 to 1, got {args.threshold}")

    from cotnet import tasks
    from cotnet.models.weights_file import open_weights
    from cotnet.prediction.inputs import InputFiles
    from cotnet.prediction.processes import processes

    files = InputFiles(args.images)
    check_output(args.output, inputs=itertools.chain([args.weights], files))
    weights = open_weights(args.weights, ema=args.ema)
    given = check_options(weights, args, ("model", "ema", "topk", "threshold", "draw", "masks"))
    folders: dict[str, str] = {option: given.pop(option) for option in ("draw", "masks") if option in given}
    names = iter(_check_folders(folders, list(files)) if folders else ())
    model = tasks.load(weights, fused=not args.no_fuse, **{k: given.pop(k) for k in ("model", "ema") if k in given})

    from cotnet.cli.report import Report

    paths = iter(files)
    first = list(itertools.islice(paths, _ALIGNED)) if args.format == "table" else []
    results = model.predict(
        itertools.chain(first, paths),
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        **given,
        **({"keep_labels": bool(folders)} if "keep_labels" in model.options else {}),
    )
    width = max(map(len, first), default=0)
    with (
        open_output(args.output if processes().is_rank_zero else os.devnull) as file,
        Report(args.format, file, model.card, model.result_type.columns, width=width) as report,
    ):
        for result in results:
            report.write(result)
            if folders:
                _draw(model, result, folders, next(names))
    report.check()


def _check_folders(folders: dict[str, str], paths: list[str]) -> list[str]:
    """The name of what is drawn of each image."""
    names = image_names(paths)
    for option, folder in folders.items():
        check_folder(option, folder, inputs=paths, names=names)
    if len({Path(folder).resolve() for folder in folders.values()}) < len(folders):
        raise ValueError(f"--draw and --masks name the same folder {folders['draw']}, and their files the same images")
    return names


def _draw(model: Any, result: Any, folders: dict[str, str], name: str) -> None:
    if result.error is not None:
        return
    for option, folder in folders.items():
        Path(folder).mkdir(parents=True, exist_ok=True)
        (model.draw if option == "draw" else model.draw_mask)(result).save(Path(folder) / name)
        if option == "masks":
            text = json.dumps(model.describe_classes(), indent=2)
            Path(folder, "classes.json").write_text(f"{text}\n", encoding="utf-8")
