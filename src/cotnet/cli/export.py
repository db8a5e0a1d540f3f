"""`cotnet export WEIGHTS`."""

import difflib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotnet.cli import detection, segmentation
from cotnet.cli.output import check_targets
from cotnet.cli.parser import Parser, at_least
from cotnet.cli.task import task_of
from cotnet.exporting.formats import ENDINGS, artefact_files, missing_packages

if TYPE_CHECKING:
    from cotnet.exporting.parity import Parity

DESCRIPTION = """Write a trained network for other runtimes, and prove that its answers are the same.

WEIGHTS is weights.safetensors or a .ckpt of a training run, or a released .pth.tar together with --model.
Formats: torch (torch.export, .pt2), onnx (.onnx), openvino (.xml and .bin). Each takes any batch and, if the network
does, images of any size. Preprocessing and class names are inside, and in a .json beside.

The report compares logits at two batch sizes and two image sizes, and the likeliest class of real images: those of
--images, else the ones that scikit-image brings. Where they differ by more than the tolerance, or name another class,
nothing is written and the exit status is 2.

A segmenter gives logits [batch, classes, height, width]. A detector is written as ONNX alone, for images of the size
of the first of --images, if onnxruntime finds the same there; its backbone is a file of its own, for any size."""

_MOST_IMAGES = 256


def run(arguments: list[str]) -> None:
    """Export as the arguments say.

    Raises:
        ValueError: an option or the weights are wrong, a package is missing, or the answers differ.
        OSError: a file is missing, exists already, or cannot be written.
    """
    parser = Parser("export", DESCRIPTION)
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("--format", nargs="+", default=["onnx"], metavar="FORMAT", help="of torch, onnx, openvino")
    parser.add_argument("--output", metavar="PATH", help="files without ending, or a folder; default beside WEIGHTS")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier artefacts")
    parser.add_argument("--model", metavar="NAME", help="the network of a released checkpoint")
    parser.add_argument("--ema", action="store_true", help="a released checkpoint's averaged weights")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="side of the images; default the weights' own")
    parser.add_argument("--images", nargs="+", metavar="IMAGE", help="files, folders, globs to compare answers on")
    parser.add_argument(
        "--tolerance", type=float, metavar="X", help="of a logit, relative to the largest; default 1e-4"
    )
    args = parser.parse_args(arguments)
    forms = _formats(args.format)
    if args.size is not None:
        at_least(1, "size", args.size)
    if args.tolerance is not None and not (args.tolerance > 0 and math.isfinite(args.tolerance)):
        raise ValueError(f"--tolerance must be above 0, got {args.tolerance}")
    stem = _stem(args.output, args.weights, forms)

    from dataclasses import replace

    from cotnet.classification.load import load_network
    from cotnet.exporting.export import export

    for form in forms:
        if missing := missing_packages(form):
            raise ValueError(missing)
    check_targets([path for form in forms for path in artefact_files(form, stem)], overwrite=args.overwrite)
    task = task_of(Path(args.weights), args)
    if task == "detection":
        detection.export(args, forms, stem)
        return
    images, whose = _images(args.images)
    read = None
    if task == "segmentation":
        network, card, read = segmentation.to_export(Path(args.weights))
    else:
        network, card = load_network(Path(args.weights), model=args.model, ema=args.ema)
    if args.size is not None:
        card = replace(card, preprocessing={**card.preprocessing, "input_size": [3, args.size, args.size]})

    def report(form: str, description: dict[str, Any], parity: "Parity") -> None:
        print(_report(form, description, parity, whose=whose), flush=True)

    tolerance = 1e-4 if args.tolerance is None else args.tolerance
    files = export(network, card, stem, forms, report, images=images, tolerance=tolerance, read=read)
    for path in files:
        print(f"{path}  {path.stat().st_size / 2**20:.1f} MiB")


def _formats(words: list[str]) -> list[str]:
    names = [name for word in words for name in word.split(",") if name]
    for name in names:
        if name not in ENDINGS:
            near = difflib.get_close_matches(name, ENDINGS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the formats are {', '.join(ENDINGS)}"
            raise ValueError(f"unknown format {name!r}; {hint}")
    if not names:
        raise ValueError(f"--format names none of {', '.join(ENDINGS)}")
    return list(dict.fromkeys(names))


def _stem(output: str | None, weights: str, forms: list[str]) -> Path:
    """The path of the artefacts without their ending."""
    name = Path(weights).name
    for ending in (".safetensors", ".ckpt", ".pth.tar", ".pth"):
        name = name.removesuffix(ending)
    if output is None:
        return Path(weights).with_name(name)
    path = Path(output)
    if path.is_dir():
        return path / name
    if output.endswith(os.sep):
        raise FileNotFoundError(f"--output {output}: this folder does not exist; make it first")
    if path.suffix in ENDINGS.values():
        if forms != [form for form in forms if ENDINGS[form] == path.suffix]:
            raise ValueError(f"--output {output} ends as another format than {', '.join(forms)}; leave the ending out")
        return path.with_suffix("")
    return path


def _images(words: list[str] | None) -> tuple[list[str], str]:
    """Paths to compare answers on, and whose they are."""
    from cotnet.data.bundled import installed_images
    from cotnet.prediction.inputs import InputFiles

    if words is None:
        found = [str(path) for path in installed_images()]
        return found, "images of scikit-image" if found else "images of noise; name real ones by --images"
    found = list(InputFiles(words))
    if len(found) <= _MOST_IMAGES:
        return found, "images"
    step = len(found) / _MOST_IMAGES
    return [found[int(i * step)] for i in range(_MOST_IMAGES)], f"images, a sample of {len(found)}"


def _report(form: str, description: dict[str, Any], parity: "Parity", *, whose: str) -> str:
    ends = (description[end] for end in ("input", "output"))
    shapes = " to ".join(f"{end['name']} [{', '.join(map(str, end['shape']))}]" for end in ends)
    lines = [f"{form}: {shapes}" + (f", opset {description['opset']}" if "opset" in description else "")]
    lines.append(f"  largest error of a logit, relative to the largest logit; tolerance {parity.tolerance:.0e}")
    for (batch, height, width), error in parity.errors.items():
        lines.append(f"    batch {batch}, {height} x {width} pixels  {error:.1e}")
    lines.append(f"    images  {parity.image_error:.1e}")
    alike = "the classes of 999 in 1,000 pixels agree" if description["task"] == "segmentation" else "top-1 agrees"
    lines.append(f"  {alike} on {parity.agreeing} of {parity.images} {whose}")
    return "\n".join(lines)
