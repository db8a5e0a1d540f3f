"""`cotnet view WEIGHTS IMAGE ...`."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from cotnet.cli.parser import Parser, add_weights_arguments, at_least, comma_separated, whole_numbers

if TYPE_CHECKING:
    from torch import nn

    from cotnet.viz import View

DESCRIPTION = """Show what a network looks at, as PNG sheets in a folder for each image.

  field-LAYER.png  the weight field of some heads of a CoT layer: kernels, where each position looks, how widely
  contexts.png     static against dynamic context, layer by layer and stage by stage
  grad-cam.png     where the evidence for the likeliest classes lies; needs captum: pip install 'cotnet[view]'

WEIGHTS is weights.safetensors or a .ckpt of a training run, or a released .pth.tar together with --model. Only CoT
layers have weight fields; for a network without any, only Grad-CAM is drawn.
An image that cannot be read is named, the others are drawn all the same, and the exit status is then 2."""


def run(arguments: list[str]) -> None:
    """Draw the sheets as the arguments say.

    Args:
        arguments: What follows ``cotnet view`` on the command line.

    Raises:
        ValueError: An option, the weights or the images are wrong.
        OSError: A file is missing or cannot be written.
        UnfinishedError: Some images could not be read; they have been named.
    """
    parser = Parser("view", DESCRIPTION)
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="file, folder (searched through), or glob")
    add_weights_arguments(parser)
    parser.add_argument("--stages", metavar="NAMES", help="e.g. res4,res5: the last CoT layer of each; default all")
    parser.add_argument("--layers", metavar="NAMES", help="CoT layers by name, e.g. layer3.0,layer3.2, or all")
    parser.add_argument("--heads", metavar="NUMBERS", help="e.g. 0,3; default the three that vary most in the image")
    parser.add_argument("--topk", type=int, default=3, metavar="K", help="classes of Grad-CAM, at most all; default 3")
    parser.add_argument("--output", metavar="FOLDER", default="views", help="default views")
    args = parser.parse_args(arguments)
    at_least(1, "topk", args.topk)
    if args.stages is not None and args.layers is not None:
        raise ValueError("give either --stages or --layers, not both")
    stages = None if args.stages is None else comma_separated("stages", args.stages)
    layers = None if args.layers is None else comma_separated("layers", args.layers)
    heads = None if args.heads is None else whole_numbers("heads", args.heads)
    output = Path(args.output)
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file; name a folder")

    from cotnet import viz
    from cotnet.classification.load import load_network
    from cotnet.cli.errors import UnfinishedError, print_error
    from cotnet.models.weights_file import open_weights
    from cotnet.prediction.inputs import InputFiles
    from cotnet.prediction.stream import read_input
    from cotnet.prediction.transform import decoding_options, input_transform

    paths = list(InputFiles(args.images))
    weights = open_weights(args.weights, ema=args.ema)
    if weights.card is not None and weights.card.task != "classification":
        raise ValueError(f"{weights.path} is for {weights.card.task}; cotnet view shows classifiers")
    network, card = load_network(weights, model=args.model, ema=args.ema, class_names=args.class_names)
    selected = _layers(network, card.model, stages, layers)
    topk = args.topk if _has_captum(needed=not selected) else 0

    transform, unreadable = input_transform(card), 0
    for path, folder in zip(paths, _folders(output, paths), strict=True):
        x = read_input(path, transform, **decoding_options(card))
        if isinstance(x, str):
            unreadable += 1
            print_error(x)
            continue
        view = viz.view_image(network, card, x, folder, name=Path(path).name, layers=selected, heads=heads, topk=topk)
        _print(path, view, folder)
    if unreadable:
        raise UnfinishedError


def _print(path: str, view: "View", folder: Path) -> None:
    """A line for the image, one for each layer, and one for the sheets."""
    from cotnet import viz

    print(f"{path}: {view.predictions[0]}")
    for field in view.fields:
        entropy = viz.entropy(field.weight).mean()
        length = viz.mean_offset(field.weight, dilation=field.dilation).norm(dim=2).mean()
        share = f", {field.dynamic_share.mean():.0%} dynamic" if field.dynamic_share is not None else ""
        name = f"{viz.short_name(field.layer)} ({field.stage})"
        print(f"  {name}: entropy {entropy:.2f}, mean offset {length:.2f} cells{share}")
    print(f"  {', '.join(sheet.name for sheet in view.sheets)} in {folder}")


def _layers(network: "nn.Module", model: str, stages: list[str] | None, layers: list[str] | None) -> list[str]:
    """Names of the layers whose field is drawn."""
    from cotnet.viz import cot_layers, select_layers

    known = list(cot_layers(network))
    selected = known if layers == ["all"] else select_layers(network, stages=stages, layers=layers)
    if not known:
        print(f"{model} as trained has no CoT layer and so no weight field; only Grad-CAM is drawn")
    return selected


def _has_captum(*, needed: bool) -> bool:
    """Whether Grad-CAM can be drawn; an error if it cannot and nothing else would be drawn."""
    if importlib.util.find_spec("captum") is not None:
        return True
    if needed:
        raise ModuleNotFoundError("No module named 'captum'", name="captum")
    print("Grad-CAM is left out: it needs captum; install it with: pip install 'cotnet[view]'")
    return False


def _folders(output: Path, paths: list[str]) -> list[Path]:
    """A folder for each image, named after it, with a number where the name is taken already.

    Names that differ in case alone count as the same, as they do in the file systems of Windows and macOS.
    """
    used: dict[str, int] = {}
    folders: dict[str, Path] = {}
    for path in paths:
        stem = Path(path).stem
        name = stem
        while name.casefold() in folders:
            number = used[stem.casefold()] = used.get(stem.casefold(), 1) + 1
            name = f"{stem}-{number}"
        folders[name.casefold()] = output / name
    return list(folders.values())
