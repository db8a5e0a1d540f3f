"""`cotnet validate WEIGHTS [DATA]`."""

import contextlib
import json
import sys

from cotnet.cli.errors import UnfinishedError, print_error, print_note
from cotnet.cli.output import check_folder, check_output, open_output, output_format
from cotnet.cli.parser import (
    DETECTION_OPTIONS,
    WEIGHTS_OPTIONS,
    Parser,
    add_detection_arguments,
    add_run_arguments,
    add_weights_arguments,
    check_options,
    check_run_arguments,
)

DESCRIPTION = """Measure trained weights: top-1, top-5, per-class accuracy, images per second.

Of a detector average precision, of a segmenter IoU of each class.
WEIGHTS is weights.safetensors or a .ckpt of a training run, an .onnx or .xml of cotnet export, or a released .pth.tar
together with --model.
DATA is a folder with val/CLASS/*.jpg or CLASS/*.jpg, an .npz pack, a Hugging Face data set on disk, or a folder or URL
of tar shards; without it, the images that the weights were validated on in training. Its classes must be the weights'
classes. torchrun --nproc-per-node 8 -m cotnet validate ... shares the images among processes, each image once.
A detector's or a segmenter's DATA is a folder or a zip archive with images/ and val.json in COCO's format."""

FORMATS = ("table", "json")


def run(arguments: list[str]) -> None:
    """Validate as the arguments say.

    Raises:
        ValueError: An option, the weights or the data are wrong.
        OSError: A file is missing or cannot be written.
        UnfinishedError: Some images could not be read; they have been named.
    """
    parser = Parser("validate", DESCRIPTION)
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("data", metavar="DATA", nargs="?")
    add_weights_arguments(parser)
    add_run_arguments(parser, batch_size=64, formats=FORMATS)
    group = parser.add_argument_group("detectors and segmenters")
    group.add_argument("--annotations", metavar="NAME", help="COCO file in DATA; default val.json")
    group.add_argument("--images-folder", metavar="NAME", help="folder of images in DATA; default images")
    add_detection_arguments(group)
    group.add_argument("--plots", metavar="FOLDER", help="draw precision over recall, confused classes, samples there")
    args = parser.parse_args(arguments)
    check_run_arguments(args)
    check_output(args.output, inputs=[args.weights, args.data or ""])
    form = output_format(args.output, args.format, FORMATS)

    from cotnet import tasks
    from cotnet.models.weights_file import open_weights
    from cotnet.prediction.processes import processes

    weights = open_weights(args.weights, ema=args.ema)
    of_data = ("annotations", "images_folder", "plots")
    given = check_options(weights, args, (*WEIGHTS_OPTIONS, *DETECTION_OPTIONS, *of_data))
    if args.plots:
        check_folder("plots", args.plots)
    data = {name: given.pop(name) for name in of_data if name in given}
    model = tasks.load(weights, fused=not args.no_fuse, **given)
    with contextlib.redirect_stdout(sys.stderr):  # for notes on the data; the result stands alone
        scores = tasks.validate(model, args.data, batch_size=args.batch_size, num_workers=args.num_workers, **data)
    if not processes().is_rank_zero:
        return
    with open_output(args.output) as file:
        file.write(f"{json.dumps(scores.to_plain(), indent=2) if form == 'json' else scores}\n")
    for note in scores.notes:
        print_note(note)
    for error in scores.unreadable:
        print_error(error)
    if scores.unreadable:
        print_note(f"{len(scores.unreadable)} of {len(scores.unreadable) + scores.images} images could not be read")
        raise UnfinishedError
