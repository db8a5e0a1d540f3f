"""Every sheet of one image, and the choice of the layers to draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cotnet.files.weights import WeightsCard
from cotnet.viz.contexts_sheet import draw_contexts
from cotnet.viz.field_sheet import check_heads, draw_fields
from cotnet.viz.grad_cam import grad_cam, last_feature_map
from cotnet.viz.grad_cam_sheet import draw_grad_cam
from cotnet.viz.record_fields import cot_layers, eval_mode, record_fields
from cotnet.viz.source_image import SourceImage
from cotnet.viz.weight_field import WeightField, most_varied_heads, short_name

_HEADS = 3  # drawn of each layer by default
_NAME_LENGTH = 40  # of a class in a title


@dataclass(frozen=True)
class View:
    """What ``view_image`` computed and drew.

    Attributes:
        predictions: The likeliest classes as text with their probabilities, the likeliest first.
        fields: The weight field of every CoT layer.
        sheets: The files that were written.
    """

    predictions: list[str]
    fields: list[WeightField]
    sheets: list[Path]


def view_image(
    network: nn.Module,
    card: WeightsCard,
    x: Tensor,
    folder: Path,
    *,
    name: str,
    layers: Sequence[str] | None = None,
    heads: Sequence[int] | None = None,
    topk: int = 3,
) -> View:
    """Draw what a classifier looks at in one image: a sheet for each layer, one of the contexts, one of Grad-CAM.

    Args:
        network: The classifier. It runs in eval mode and is left as it was.
        card: Its class names and preprocessing.
        x: The image as the network takes it, ``[3, H, W]``.
        folder: Where to write the sheets; it is made if it does not exist.
        name: The image's name, for titles.
        layers: CoT layers that get a sheet; by default the last one of each stage.
        heads: Heads to draw; by default the three that vary most over the image.
        topk: Number of classes to explain by Grad-CAM, which needs captum; 0 leaves it out.

    Returns:
        The predictions, the fields, and the sheets that were written.

    Raises:
        ValueError: The image or a head does not fit the network. Nothing is written then.
        ModuleNotFoundError: captum is not installed and ``topk`` is not 0.
    """
    layers = select_layers(network) if layers is None else layers
    image = SourceImage.from_input(name, x, mean=card.preprocessing["mean"], std=card.preprocessing["std"])
    fields = record_fields(network, x[None])
    selected = [field for field in fields if field.layer in layers]
    for field in selected:
        check_heads(field, heads or ())
    with torch.no_grad(), eval_mode(network):
        top = network(x[None]).softmax(1)[0].topk(min(max(topk, 1), len(card.class_names)))
    classes = top.indices.tolist()
    predictions = [
        f"{card.class_names[i][:_NAME_LENGTH]} {p:.0%}" for i, p in zip(classes, top.values.tolist(), strict=True)
    ]

    folder.mkdir(parents=True, exist_ok=True)
    sheets = []
    answer = f"predicted: {predictions[0]}"
    for field in selected:
        sheets.append(folder / f"field-{short_name(field.layer)}.png")
        drawn = most_varied_heads(field, _HEADS) if heads is None else heads
        draw_fields(field, image, drawn, sheets[-1], answer=answer)
    if fields:
        sheets.append(folder / "contexts.png")
        draw_contexts(fields, image, sheets[-1], answer=answer)
    if topk:
        sheets.append(folder / "grad-cam.png")
        layer = last_feature_map(network, x[None])
        maps = grad_cam(network, x[None].repeat(len(classes), 1, 1, 1), classes, layer=layer)
        draw_grad_cam(image, list(maps.numpy()), predictions, sheets[-1], layer=layer)
    return View(predictions, fields, sorted(sheets))


def select_layers(
    network: nn.Module, *, stages: Sequence[str] | None = None, layers: Sequence[str] | None = None
) -> list[str]:
    """The CoT layers that stages or names select.

    Args:
        network: The network.
        stages: Stages such as ``res4``, the last CoT layer of each; all stages by default.
        layers: Names of layers, or of modules that hold some, instead of ``stages``.

    Returns:
        Names of layers.

    Raises:
        ValueError: A stage or a module has no CoT layer.
    """
    known = cot_layers(network)
    last_of = {stage: layer for layer, stage in known.items()}
    if layers is not None:
        found = {word: [layer for layer in known if f"{layer}.".startswith(f"{word}.")] for word in layers}
        offer = ", ".join(map(short_name, known))
    else:
        found = {stage: [last_of[stage]] if stage in last_of else [] for stage in stages or last_of}
        offer = ", ".join(last_of)
    for word, its_layers in found.items():
        if not its_layers:
            hint = f"there are some in {offer}" if offer else "the network has none"
            raise ValueError(f"no CoT layer in {word!r}; {hint}")
    return list(dict.fromkeys(layer for its_layers in found.values() for layer in its_layers))
