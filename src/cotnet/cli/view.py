"""`cotnet view WEIGHTS IMAGE ...`."""

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cotnet.cli.parser import Parser, at_least

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cotnet.files.weights import WeightsCard

DESCRIPTION = """Show what a network looks at, as PNG sheets in a folder for each image.

  field-LAYER.png  the weight field of some heads of a CoT layer: kernels, where each position looks, how widely
  contexts.png     static against dynamic context, layer by layer and stage by stage
  grad-cam.png     the places that speak for the likeliest classes; needs captum: pip install 'cotnet[view]'

WEIGHTS is weights.safetensors or a .ckpt of a training run, or a released .pth.tar together with --model. Only CoT
layers have weight fields; of a network without any, Grad-CAM alone is drawn.
An image that cannot be read is named, the others are drawn all the same, and the exit status is then 2."""

_HEADS = 3  # of a layer, where none are chosen


def run(arguments: list[str]) -> None:
    """Draw the sheets as the arguments say.

    Raises:
        ValueError: an option, the weights or the images are wrong.
        OSError: a file is missing or cannot be written.
        UnfinishedError: some images could not be read; they have been named.
    """
    parser = Parser("view", DESCRIPTION)
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="file, folder (searched through), or glob")
    parser.add_argument("--model", metavar="NAME", help="the network of a released checkpoint")
    parser.add_argument("--ema", action="store_true", help="a released checkpoint's averaged weights")
    parser.add_argument("--stages", metavar="NAMES", help="e.g. res4,res5: the last CoT layer of each; default all")
    parser.add_argument("--layers", metavar="NAMES", help="CoT layers by name, e.g. layer3.0,layer3.2, or all")
    parser.add_argument("--heads", metavar="NUMBERS", help="e.g. 0,3; default the three that vary most in the image")
    parser.add_argument("--topk", type=int, default=3, metavar="K", help="classes of Grad-CAM, at most all; default 3")
    parser.add_argument("--output", metavar="FOLDER", default="views", help="default views")
    args = parser.parse_args(arguments)
    at_least(1, "topk", args.topk)
    if args.stages is not None and args.layers is not None:
        raise ValueError("give either --stages or --layers, not both")
    output = Path(args.output)
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file; name a folder")

    from cotnet.classification.load import load_network
    from cotnet.cli.main import UnfinishedError
    from cotnet.files.weights import read_card
    from cotnet.prediction.inputs import ImageReader, InputFiles

    paths = list(InputFiles(args.images))
    weights = Path(args.weights)
    described = read_card(weights) if weights.is_file() else None
    if described is not None and described.task != "classification":
        raise ValueError(f"{weights} is for {described.task}; cotnet view shows networks that name images")
    network, card = load_network(weights, model=args.model, ema=args.ema)
    layers = _layers(network, card, stages=args.stages, layers=args.layers)
    heads = _heads(network, args.heads, layers)
    classes = _classes_of_grad_cam(args.topk, needed=not layers)

    read, unreadable = ImageReader(card), 0
    for path, folder in zip(paths, _folders(output, paths), strict=True):
        x = read(path)
        if isinstance(x, str):
            unreadable += 1
            print(f"cotnet: error: cannot read the image {path}: {x}; repair or remove it", file=sys.stderr)
        else:
            _draw(network, card, path, x, layers=layers, heads=heads, classes=classes, folder=folder)
    if unreadable:
        raise UnfinishedError


def _draw(
    network: "nn.Module",
    card: "WeightsCard",
    path: str,
    x: "Tensor",
    *,
    layers: list[str],
    heads: list[int] | None,
    classes: int,
    folder: Path,
) -> None:
    """The sheets of one image, and a line for each layer."""
    import torch

    from cotnet import viz

    image = viz.SourceImage.from_input(
        Path(path).name, x, mean=card.preprocessing["mean"], std=card.preprocessing["std"]
    )
    fields = viz.record(network, x[None])
    with torch.no_grad():
        top = network(x[None]).softmax(1)[0].topk(min(max(classes, 1), len(card.class_names)))
    answers = [f"{card.class_names[i][:40]} {p:.0%}" for p, i in zip(top[0].tolist(), top[1].tolist(), strict=True)]
    print(f"{path}: {answers[0]}")
    folder.mkdir(parents=True, exist_ok=True)
    for field in fields:
        share = f", {field.dynamic_share.mean():.0%} dynamic" if field.dynamic_share is not None else ""
        spread = viz.entropy(field.weight).mean()
        length = viz.direction(field.weight, dilation=field.dilation).norm(dim=2).mean()
        name = viz.short_name(field.layer)
        print(f"  {name} ({field.stage}): entropy {spread:.2f}, mean look {length:.2f} cells{share}")
        if field.layer in layers:
            drawn = viz.telling_heads(field, _HEADS) if heads is None else heads
            viz.draw_fields(field, image, drawn, folder / f"field-{name}.png", answer=f"the network says {answers[0]}")
    if fields:
        viz.draw_contexts(fields, image, folder / "contexts.png", answer=f"the network says {answers[0]}")
    if classes:
        layer = viz.last_map(network, x[None])
        maps = viz.grad_cam(network, x[None].repeat(len(answers), 1, 1, 1), top[1].tolist(), layer=layer)
        viz.draw_grad_cam(image, list(maps.numpy()), answers, folder / "grad-cam.png", layer=layer)
    print(f"  {', '.join(sorted(sheet.name for sheet in folder.glob('*.png')))} in {folder}")


def _layers(network: "nn.Module", card: "WeightsCard", *, stages: str | None, layers: str | None) -> list[str]:
    """Names of the layers whose field is drawn."""
    from cotnet.viz import cot_layers, short_name

    known = cot_layers(network)
    if not known:
        if stages is not None or layers is not None:
            raise ValueError(f"{card.model} as trained has no CoT layer; leave out --stages and --layers")
        print(f"{card.model} as trained has no CoT layer and so no weight field; Grad-CAM alone is drawn")
        return []
    last = {stage: layer for layer, stage in known.items()}
    if layers == "all":
        return list(known)
    if layers is None:
        words, offer = _words("stages", stages) if stages is not None else list(last), ", ".join(last)
        found = [[last[word]] if word in last else [] for word in words]
    else:
        words, offer = _words("layers", layers), ", ".join(short_name(layer) for layer in known)
        found = [[layer for layer in known if f"{layer}.".startswith(f"{word}.")] for word in words]
    for word, its in zip(words, found, strict=True):
        if not its:
            raise ValueError(f"no CoT layer in {word!r}; there are some in {offer}")
    return list(dict.fromkeys(layer for its in found for layer in its))


def _heads(network: "nn.Module", text: str | None, layers: list[str]) -> list[int] | None:
    """The numbers, if every layer that is drawn has such heads."""
    if text is None:
        return None
    words = _words("heads", text)
    if not all(word.isdecimal() for word in words):
        raise ValueError(f"--heads must be whole numbers with commas between, got {text!r}")
    from cotnet.viz import short_name

    for layer in layers:
        heads = int(network.get_submodule(layer).attention.heads)  # type: ignore[union-attr, arg-type]
        if max(map(int, words)) >= heads:
            raise ValueError(f"--heads {text}: {short_name(layer)} has the heads 0 to {heads - 1}")
    return list(dict.fromkeys(map(int, words)))


def _classes_of_grad_cam(topk: int, *, needed: bool) -> int:
    """How many classes to ask for; none without captum, unless nothing else would be drawn."""
    if importlib.util.find_spec("captum") is not None:
        return topk
    if needed:
        raise ModuleNotFoundError("No module named 'captum'", name="captum")
    print("Grad-CAM is left out: it needs captum; install it with: pip install 'cotnet[view]'")
    return 0


def _folders(output: Path, paths: list[str]) -> list[Path]:
    """A folder for each image, named like it; the second of a name gets a number."""
    taken: dict[str, int] = {}
    folders = []
    for path in paths:
        stem = Path(path).stem
        taken[stem] = taken.get(stem, 0) + 1
        folders.append(output / (stem if taken[stem] == 1 else f"{stem}-{taken[stem]}"))
    return folders


def _words(option: str, text: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise ValueError(f"--{option} must be names with commas between, got {text!r}")
    return words
