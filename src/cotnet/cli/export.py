"""`cotnet export WEIGHTS`."""

import math

from cotnet.cli.parser import Parser, add_weights_arguments, at_least

DESCRIPTION = """Write a trained network for other runtimes, and prove that its answers are the same.

WEIGHTS is weights.safetensors or a .ckpt of a training run, or a released .pth.tar together with --model.
Formats: torch (torch.export, .pt2), onnx (.onnx), openvino (.xml and .bin). Each takes any batch and, if the network
does, images of any size. Preprocessing and class names are inside, and in a .json beside.

The report compares logits at two batch sizes and two image sizes, and the likeliest class of real images: those of
--images, else the ones that scikit-image brings. Where they differ by more than the tolerance, or name another class,
nothing is written and the exit status is 2.

A segmenter gives logits [batch, classes, height, width]. A detector is written as ONNX alone, for images of the size
of the first of --images, if onnxruntime finds the same there; its backbone is a file of its own, for any size."""


def run(arguments: list[str]) -> None:
    """Export as the arguments say.

    Raises:
        ValueError: An option or the weights are wrong, a package is missing, or the answers differ.
        OSError: A file is missing, exists already, or cannot be written.
    """
    parser = Parser("export", DESCRIPTION)
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("--format", nargs="+", default=["onnx"], metavar="FORMAT", help="of torch, onnx, openvino")
    parser.add_argument("--output", metavar="PATH", help="files without ending, or a folder; default beside WEIGHTS")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier files")
    add_weights_arguments(parser)
    parser.add_argument("--size", type=int, metavar="PIXELS", help="side of the images; default as in training")
    parser.add_argument("--images", nargs="+", metavar="IMAGE", help="files, folders, globs to compare answers on")
    parser.add_argument(
        "--tolerance", type=float, metavar="X", help="of a logit, relative to the largest; default 1e-4"
    )
    args = parser.parse_args(arguments)
    if args.size is not None:
        at_least(1, "size", args.size)
    if args.tolerance is not None and not (args.tolerance > 0 and math.isfinite(args.tolerance)):
        raise ValueError(f"--tolerance must be above 0, got {args.tolerance}")

    from cotnet.tasks import iter_export

    files = []
    for report in iter_export(
        args.weights,
        args.format,
        output=args.output,
        overwrite=args.overwrite,
        images=args.images,
        tolerance=args.tolerance,
        size=args.size,
        model=args.model,
        ema=args.ema,
        class_names=args.class_names,
        prefix="--",
    ):
        print(report, flush=True)
        files += report.files
    for path in files:
        print(f"{path}  {path.stat().st_size / 2**20:.1f} MiB")
