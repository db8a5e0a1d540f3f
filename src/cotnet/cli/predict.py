"""`cotnet predict WEIGHTS IMAGE ...`."""

import itertools
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from cotnet.cli.errors import print_note
from cotnet.cli.output import OutputNames, check_folder, check_output, open_output, output_format
from cotnet.cli.parser import (
    DETECTION_OPTIONS,
    WEIGHTS_OPTIONS,
    Parser,
    add_detection_arguments,
    add_run_arguments,
    add_weights_arguments,
    at_least,
    check_options,
    check_run_arguments,
)
from cotnet.files.atomic import replacing

DESCRIPTION = """Name what is in images; with a detector, find where; with a segmenter, name every pixel.

WEIGHTS is weights.safetensors or a .ckpt of a training run, an .onnx or .xml of cotnet export, or a released .pth.tar
together with --model. An image that cannot be read is named, the others are predicted all the same, and the exit
status is then 2. Images are decoded in parallel and seen upright, as their EXIF orientation says; memory does not
grow with their number.
torchrun --nproc-per-node 8 -m cotnet predict ... shares the images among processes."""

FORMATS = ("table", "csv", "json")
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
    add_run_arguments(parser, batch_size=32, formats=FORMATS)
    group = parser.add_argument_group("detectors and segmenters")
    group.add_argument("--threshold", type=float, metavar="P", help="least score of a detection; default 0.5")
    add_detection_arguments(group)
    group.add_argument("--draw", metavar="FOLDER", help="write the images with boxes and masks, or coloured, there")
    group.add_argument("--masks", metavar="FOLDER", help="write each pixel's class as PNG, and classes.json, there")
    args = parser.parse_args(arguments)
    at_least(1, "topk", 1 if args.topk is None else args.topk)
    check_run_arguments(args)
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise ValueError(f"--threshold must be from 0 to 1, got {args.threshold}")
    form = output_format(args.output, args.format, FORMATS)

    from cotnet.cli.report import Report
    from cotnet.models.weights_file import open_weights
    from cotnet.prediction.inputs import InputFiles
    from cotnet.prediction.processes import processes
    from cotnet.tasks import load

    files = InputFiles(args.images)
    check_output(args.output, inputs=itertools.chain([args.weights], files))
    weights = open_weights(args.weights, ema=args.ema)
    given = check_options(weights, args, (*WEIGHTS_OPTIONS, *DETECTION_OPTIONS, "topk", "threshold", "draw", "masks"))
    folders: dict[str, str] = {option: given.pop(option) for option in ("draw", "masks") if option in given}
    for option, folder in folders.items():
        check_folder(option, folder, inputs=files)
    if len({Path(folder).resolve() for folder in folders.values()}) < len(folders):
        raise ValueError(f"--draw and --masks name the same folder {args.draw}, and their files the same images")
    options: dict[str, Any] = {name: given.pop(name) for name in ("topk", "threshold") if name in given}
    if "threshold" in options:  # a detector keeps nothing below its limit
        given["min_score"] = options["threshold"]
    model = load(weights, fused=not args.no_fuse, **given)
    if "keep_labels" in model.options:
        options["keep_labels"] = bool(folders)

    paths, names = iter(files), OutputNames()
    first = list(itertools.islice(paths, _ALIGNED)) if form == "table" else []
    inputs = itertools.chain(first, paths)
    results = model.predict(inputs, batch_size=args.batch_size, num_workers=args.num_workers, **options)
    notes = Counter[str]()
    with (
        open_output(args.output if processes().is_rank_zero else os.devnull) as file,
        Report(form, file, model.card, model.result_type.columns, width=max(map(len, first), default=0)) as report,
    ):
        for result in results:
            report.write(result)
            notes.update(result.notes)
            if folders:
                _draw(model, result, folders, names(result.image))
    if processes().is_rank_zero:
        for note, count in notes.items():
            print_note(f"{count} {'image' if count == 1 else 'images'} {note}")
        if files.skipped:
            print_note(files.skipped)
    report.check()


def _draw(model: Any, result: Any, folders: dict[str, str], name: str) -> None:
    if result.error is not None:
        return
    for option, place in folders.items():
        folder = Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        image = (model.draw if option == "draw" else model.draw_mask)(result)
        with replacing(folder / name) as partial:
            image.save(partial, format="PNG")
        if option == "masks":
            with replacing(folder / "classes.json") as partial:
                partial.write_text(json.dumps(model.describe_classes(), indent=2) + "\n", encoding="utf-8")
