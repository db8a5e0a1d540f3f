"""`cotnet predict WEIGHTS IMAGE ...`."""

import os
import sys

from cotnet.cli import detection, segmentation
from cotnet.cli.output import check_output, is_rank_zero, open_output
from cotnet.cli.parser import Parser, at_least
from cotnet.cli.task import add_prediction_arguments, task_of

DESCRIPTION = """Name what is in images; with a detector, find where; with a segmenter, name every pixel.

WEIGHTS is weights.safetensors or a .ckpt of a training run, an .onnx or .xml of cotnet export, or a released .pth.tar
together with --model. An image that cannot be read is named, the others are predicted all the same, and the exit
status is then 2. Images are decoded in parallel and seen upright, as their EXIF orientation says; memory does not
grow with their number.
torchrun --nproc-per-node 8 -m cotnet predict ... shares the images among processes."""


def run(arguments: list[str]) -> None:
    """Predict as the arguments say.

    Raises:
        ValueError: an option, the weights or the images are wrong.
        OSError: a file is missing or cannot be written.
        UnfinishedError: some images could not be read; they have been named.
    """
    parser = Parser("predict", DESCRIPTION)
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="file, folder (searched through), .tar, or glob")
    parser.add_argument("--model", metavar="NAME", help="the network of a released checkpoint")
    parser.add_argument("--ema", action="store_true", help="a released checkpoint's averaged weights")
    parser.add_argument("--topk", type=int, metavar="K", help="classes an image, at most all; default 5")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images at a time; default 32, of others 4")
    parser.add_argument("--num-workers", type=int, default=os.cpu_count() or 1, metavar="N", help="decoding processes")
    parser.add_argument("--no-fuse", action="store_true", help="the network as it was trained; slower")
    parser.add_argument("--format", choices=["table", "csv", "json"], default="table", help="default table")
    parser.add_argument("--output", metavar="FILE", help="write there instead of to standard output")
    add_prediction_arguments(parser)
    args = parser.parse_args(arguments)
    at_least(1, "topk", 1 if args.topk is None else args.topk)
    at_least(1, "batch-size", 1 if args.batch_size is None else args.batch_size)
    at_least(0, "num_workers", args.num_workers)

    from itertools import chain
    from pathlib import Path

    from cotnet.classification.load import load_network
    from cotnet.cli.main import UnfinishedError
    from cotnet.prediction.inputs import InputFiles

    paths = InputFiles(args.images)
    check_output(args.output, inputs=chain([args.weights], paths))
    task = task_of(Path(args.weights), args)
    if task != "classification":
        (detection if task == "detection" else segmentation).predict(args, list(paths))
        return
    network, card = load_network(Path(args.weights), model=args.model, ema=args.ema, fused=not args.no_fuse)

    from cotnet.cli.report import PredictionReport
    from cotnet.prediction.stream import Prediction, predict

    unreadable = count = 0
    width = max(map(len, paths)) if args.format == "table" else 0

    with (
        open_output(args.output if is_rank_zero() else os.devnull) as file,
        PredictionReport(args.format, file, width=width) as report,
    ):

        def write(prediction: Prediction) -> None:
            nonlocal unreadable, count
            count += 1
            if prediction.error is None:
                report.write(prediction)
            else:
                unreadable += 1
                reason = f"cannot read the image {prediction.path}: {prediction.error}; repair or remove it"
                print(f"cotnet: error: {reason}", file=sys.stderr)

        predict(
            network,
            card,
            paths,
            write,
            topk=args.topk or 5,
            batch_size=args.batch_size or 32,
            num_workers=args.num_workers,
        )
    if unreadable > 1:
        print(f"cotnet: {unreadable} of {count} images could not be read", file=sys.stderr)
    if unreadable:
        raise UnfinishedError
