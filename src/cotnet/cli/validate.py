"""`cotnet validate WEIGHTS [DATA]`."""

import json

from cotnet.cli.output import check_folder, check_output, open_output
from cotnet.cli.parser import Parser, add_run_arguments, add_weights_arguments, at_least, check_options

DESCRIPTION = """Measure trained weights: top-1, top-5, per-class accuracy, images per second.

Of a detector average precision, of a segmenter IoU of each class.
WEIGHTS is weights.safetensors or a .ckpt of a training run, an .onnx or .xml of cotnet export, or a released .pth.tar
together with --model.
DATA is a folder with val/CLASS/*.jpg or CLASS/*.jpg, an .npz pack, a Hugging Face data set on disk, or a folder or URL
of tar shards; without it, the images that the weights were validated on in training. Its classes must be the weights'
classes. torchrun --nproc-per-node 8 -m cotnet validate ... shares the images among processes, each image once.
A detector's or a segmenter's DATA is a folder or a zip archive with images/ and val.json in COCO's format."""


def run(arguments: list[str]) -> None:
    """Validate as the arguments say.

    Raises:
        ValueError: An option, the weights or the data are wrong.
        OSError: A file is missing or cannot be written.
    """
    parser = Parser("validate", DESCRIPTION)
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("data", metavar="DATA", nargs="?")
    add_weights_arguments(parser)
    add_run_arguments(parser, batch_size=64, formats=["table", "json"])
    group = parser.add_argument_group("detectors and segmenters")
    group.add_argument("--annotations", metavar="NAME", help="COCO file in DATA; default val.json")
    group.add_argument("--images-folder", metavar="NAME", help="folder of images in DATA; default images")
    group.add_argument("--plots", metavar="FOLDER", help="draw precision over recall, confused classes, samples there")
    args = parser.parse_args(arguments)
    at_least(1, "batch-size", 1 if args.batch_size is None else args.batch_size)
    at_least(0, "num-workers", args.num_workers)
    check_output(args.output, inputs=[args.weights, args.data or ""])

    from cotnet import tasks
    from cotnet.models.weights_file import open_weights
    from cotnet.prediction.processes import processes

    weights = open_weights(args.weights, ema=args.ema)
    given = check_options(weights, args, ("model", "ema", "annotations", "images_folder", "plots"))
    if args.plots:
        check_folder("plots", args.plots)
    model = tasks.load(weights, fused=not args.no_fuse, **{k: given.pop(k) for k in ("model", "ema") if k in given})
    if args.model is not None:
        given["match_by_name"] = False
    scores = tasks.validate(model, args.data, batch_size=args.batch_size, num_workers=args.num_workers, **given)
    if processes().is_rank_zero:
        with open_output(args.output) as file:
            file.write(f"{json.dumps(scores.to_plain(), indent=2) if args.format == 'json' else scores}\n")
