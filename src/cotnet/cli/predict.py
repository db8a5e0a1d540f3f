"""`cotnet predict WEIGHTS PICTURE ...`."""

import os
import sys

from cotnet.cli import detection, segmentation
from cotnet.cli.output import check_output, leads, open_output
from cotnet.cli.parser import Parser, at_least
from cotnet.cli.task import add_prediction_arguments, task_of

DESCRIPTION = """Name what is in pictures; with a detector, find where; with a segmenter, name every pixel.

WEIGHTS is weights.safetensors or a .ckpt of a training run, an .onnx or .xml of cotnet export, or a released .pth.tar
together with --model. A picture that cannot be read is named, the others are predicted all the same, and the exit
status is then 2. Pictures are decoded in parallel and seen upright, as their EXIF orientation says; memory does not
grow with their number.
torchrun --nproc-per-node 8 -m cotnet predict ... shares the pictures among processes."""


def run(arguments: list[str]) -> None:
    """Predict as the arguments say.

    Raises:
        ValueError: an option, the weights or the pictures are wrong.
        OSError: a file is missing or cannot be written.
        UnfinishedError: some pictures could not be read; they have been named.
    """
    parser = Parser("predict", DESCRIPTION)
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("pictures", metavar="PICTURE", nargs="+", help="file, folder (searched through), .tar, or glob")
    parser.add_argument("--model", metavar="NAME", help="the network of a released checkpoint")
    parser.add_argument("--ema", action="store_true", help="a released checkpoint's averaged weights")
    parser.add_argument("--topk", type=int, metavar="K", help="classes a picture, at most all; default 5")
    parser.add_argument("--batch-size", type=int, metavar="N", help="pictures at a time; default 32, of others 4")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="decoding processes")
    parser.add_argument("--no-fuse", action="store_true", help="the network as it was trained; slower")
    parser.add_argument("--format", choices=["table", "csv", "json"], default="table", help="default table")
    parser.add_argument("--output", metavar="FILE", help="write there instead of to standard output")
    add_prediction_arguments(parser)
    chosen = parser.parse_args(arguments)
    at_least(1, "topk", 1 if chosen.topk is None else chosen.topk)
    at_least(1, "batch-size", 1 if chosen.batch_size is None else chosen.batch_size)
    at_least(0, "workers", chosen.workers)

    from itertools import chain
    from pathlib import Path

    from cotnet.cli.main import UnfinishedError
    from cotnet.inference.network import load_network
    from cotnet.inference.pictures import FoundPictures

    paths = FoundPictures(chosen.pictures)
    check_output(chosen.output, inputs=chain([chosen.weights], paths))
    task = task_of(Path(chosen.weights), chosen)
    if task != "classification":
        (detection if task == "detection" else segmentation).predict(chosen, list(paths))
        return
    network, card = load_network(Path(chosen.weights), model=chosen.model, ema=chosen.ema, fused=not chosen.no_fuse)

    from cotnet.cli.report import PredictionReport
    from cotnet.inference.predict import Prediction, predict

    unreadable = count = 0
    width = max(map(len, paths)) if chosen.format == "table" else 0

    with (
        open_output(chosen.output if leads() else os.devnull) as file,
        PredictionReport(chosen.format, file, width=width) as report,
    ):

        def write(prediction: Prediction) -> None:
            nonlocal unreadable, count
            count += 1
            if prediction.error is None:
                report.write(prediction)
            else:
                unreadable += 1
                reason = f"cannot read the picture {prediction.path}: {prediction.error}; repair or remove it"
                print(f"cotnet: error: {reason}", file=sys.stderr)

        predict(
            network,
            card,
            paths,
            write,
            topk=chosen.topk or 5,
            batch_size=chosen.batch_size or 32,
            workers=chosen.workers,
        )
    if unreadable > 1:
        print(f"cotnet: {unreadable} of {count} pictures could not be read", file=sys.stderr)
    if unreadable:
        raise UnfinishedError
