"""Detectors as ONNX programs: ``image`` in, the detections of `network([image])` out."""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.functional import to_tensor

from cotnet.detection.predict import DetectionModel
from cotnet.exporting.comparison import BATCHES, relative_error
from cotnet.exporting.export import ExportReport
from cotnet.exporting.formats import export_files
from cotnet.exporting.program import INPUT, KEY, Exporter, input_shape, other_size
from cotnet.files.atomic import replacing
from cotnet.files.image import UnreadableImageError
from cotnet.prediction.inputs import InputFiles
from cotnet.prediction.stream import read_input
from cotnet.prediction.transform import decoding_options

OPSET = 18
IMAGE = "image"  # one image and no batch, which `INPUT` is
MAPS = ("p2", "p3", "p4", "p5", "p6")
_PARTS = ("boxes", "labels", "scores", "masks")


def target_files(stem: Path, forms: Sequence[str]) -> list[Path]:
    """The files that `export` writes: the detector, its description, and its backbone.

    Raises:
        ValueError: Another format than ONNX.
    """
    if list(forms) != ["onnx"]:
        raise ValueError(f"a detector exports to onnx alone, not to {', '.join(forms)}; see docs/detection.md")
    return [*export_files("onnx", stem), stem.with_name(f"{stem.name}.backbone.onnx")]


def export(
    model: DetectionModel,
    stem: Path,
    forms: Sequence[str],
    *,
    images: Sequence[str] | None = None,
    tolerance: float | None = None,
    size: int | None = None,
) -> Iterator[ExportReport]:
    """Write a detector as ONNX for images of one size, and before it its backbone for any size.

    Args:
        model: The detector, not fused, on the CPU.
        stem: Path of the files without ending.
        forms: ONNX alone.
        images: Files, folders, archives and globs; the first image gives the size, and should show objects.
        tolerance: Of no use here.
        size: Of no use here.

    Yields:
        The reports of the backbone and of the detector; their files are complete.

    Raises:
        ValueError: Another format, no image to compare on, or a backbone that answers differently.
        RuntimeError: onnxruntime finds something else.
    """
    if not images:
        raise ValueError("name an image of the size to export for, with objects in it: --images FILE")
    card, network = model.card, model.network
    path = next(iter(InputFiles(images)))
    example = read_input(path, to_tensor, **decoding_options(model.card))
    if isinstance(example, str):
        raise UnreadableImageError(example)
    side = -(-card.preprocessing["input_size"][1] // 32) * 32
    target, about, maps = target_files(stem, forms)
    error = export_backbone(network, maps, size=side)
    text = f"onnx: {INPUT} [batch, 3, height, width], normalised, to the pyramid's maps {MAPS[0]} to {MAPS[-1]}\n"
    text += f"  largest error of a map, relative to its largest value  {error:.1e}"
    yield ExportReport("onnx", [maps], {}, text)
    description = {
        "model": card.model,
        "task": card.task,
        "class_names": card.class_names,
        "category_ids": card.data["category_ids"],
        "input": {"name": IMAGE, "shape": list(example.shape), "dtype": "float32", "range": [0, 1], "order": "RGB"},
    }
    same = export_detector(network, target, example=example, description=description)
    description["parity"] = vars(same)
    with replacing(about) as partial:
        partial.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    text = f"onnx: {IMAGE} [3, {example.shape[1]}, {example.shape[2]}] to boxes, labels, scores of the objects found\n"
    text += f"  the same {same.detections} objects in {path} and two mirrored copies\n"
    text += f"  boxes within {same.boxes:.1e} pixels, scores within {same.scores:.1e}, masks within {same.masks:.1e}"
    yield ExportReport("onnx", [target, about], description, text)


@dataclass(frozen=True)
class Agreement:
    """How far onnxruntime's detections are from the detector's, over the images that were compared.

    Attributes:
        images: Number of images that were compared.
        detections: Number of objects that were found in them.
        boxes: The greatest difference of an edge, in pixels.
        scores: The greatest difference of a score.
        masks: The greatest difference of a mask's probability; 0 without masks.
    """

    images: int
    detections: int
    boxes: float
    scores: float
    masks: float


class _OneImage(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        found = self.network([image])[0]
        return tuple(found[part] for part in _PARTS if part in found)


def export_detector(
    network: Any, path: Path, *, example: Tensor, description: dict[str, Any] | None = None
) -> Agreement:
    """Write a detector as ONNX for images of the example's size, and compare its detections.

    The program takes ``image``, float32 [3, H, W] in 0 to 1, and gives ``boxes`` [M, 4], ``labels`` [M], ``scores`` [M]
    and of a detector with masks ``masks`` [M, 1, H, W]. Resizing and normalising are inside. It is traced by PyTorch's
    TorchScript exporter, since the number of boxes follows from the image; the size of the image is fixed.

    Args:
        network: In eval mode, on the CPU.
        path: The ``.onnx`` to write; it gets its name only when its detections have been found equal.
        example: An image [3, H, W] on which something is found.
        description: Plain values that are kept in the file.

    Raises:
        ValueError: Nothing is found on the example, so that nothing could be compared.
        RuntimeError: onnxruntime finds something else.
    """
    one = _OneImage(network).eval()
    with torch.no_grad():
        count = len(one(example)[0])
    if count == 0:
        raise ValueError("the detector finds nothing on the example; give an image with objects")
    masks = network.roi_heads.has_mask()
    with replacing(path) as partial:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracer's advice; a wrong trace would show in the comparison
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            torch.onnx.export(
                one,
                (example,),
                partial,
                opset_version=OPSET,
                dynamo=False,
                input_names=[IMAGE],
                output_names=list(_PARTS[: 4 if masks else 3]),
            )
        if description is not None:
            _describe(partial, description)
        return compare(network, partial, [example, example.flip(-1), example.flip(-2)])


def _describe(path: Path, description: dict[str, Any]) -> None:
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {KEY: json.dumps(description)})
    onnx.save(model, path)


def compare(network: Any, path: Path, images: list[Tensor]) -> Agreement:
    """Run an exported detector in onnxruntime beside the detector itself.

    Raises:
        RuntimeError: They find different numbers of objects, other classes, or boxes, scores or masks that differ.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of shapes that follow from the image
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    differences = dict.fromkeys(_PARTS, 0.0)
    count = 0
    for image in images:
        with torch.no_grad():
            expected = network([image])[0]
        actual = session.run(None, {IMAGE: image.numpy()})
        found = dict(zip(_PARTS, actual, strict=False))
        wanted = {part: expected[part].numpy() for part in found}
        if len(found["boxes"]) != len(wanted["boxes"]):
            raise RuntimeError(f"onnxruntime finds {len(found['boxes'])} objects, the detector {len(wanted['boxes'])}")
        order = _same_objects(wanted, found)
        for part, value in found.items():
            if value.size:
                differences[part] = max(differences[part], float(np.abs(wanted[part] - value[order]).max()))
        count += len(expected["boxes"])
    sound = differences["boxes"] <= 0.1 and differences["scores"] <= 1e-3 and differences["masks"] <= 1e-2
    if differences["labels"] or not sound:
        raise RuntimeError(f"onnxruntime finds something else than the detector: differences {differences}")
    return Agreement(len(images), count, differences["boxes"], differences["scores"], differences["masks"])


def _same_objects(wanted: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> list[int]:
    """For each object the one of `found` nearest to it, each once: rounding swaps objects of almost the same score."""
    free = list(range(len(found["boxes"])))
    order = []
    for box, label in zip(wanted["boxes"], wanted["labels"], strict=True):
        far = [float(np.abs(found["boxes"][i] - box).max()) + 1e9 * (found["labels"][i] != label) for i in free]
        order.append(free.pop(int(np.argmin(far))))
    return order


def export_backbone(network: Any, path: Path, *, size: int, tolerance: float = 1e-4) -> float:
    """Write the body and the pyramid alone as ONNX: normalised images [N, 3, H, W] to the maps P2 to P6.

    N is any, and so are H and W where the body takes any.

    Args:
        network: A detector in eval mode, on the CPU.
        path: The ``.onnx`` to write; it gets its name only when its maps have been found equal.
        size: Side of the images to compare on, in pixels; they are noise.
        tolerance: Largest error of a map, relative to its largest value.

    Returns:
        The largest such error.

    Raises:
        ValueError: The body cannot be exported, or onnxruntime computes something else.
    """
    import onnxruntime

    maps = _Maps(network.backbone).eval()
    exporter = Exporter(maps, size, outputs=MAPS)
    with replacing(path) as partial:
        exporter.write("onnx", partial, {"task": "features", "outputs": list(MAPS)})
        session = onnxruntime.InferenceSession(partial.read_bytes(), providers=["CPUExecutionProvider"])
        worst, generator = 0.0, torch.Generator().manual_seed(0)
        sizes = [(size, size), other_size(size)] if "height" in input_shape(exporter.program) else [(size, size)]
        for batch, (height, width) in product(BATCHES, sizes):
            x = torch.randn(batch, 3, height, width, generator=generator)
            with torch.no_grad():
                expected = maps(x)
            for value, wanted in zip(session.run(None, {INPUT: x.numpy()}), expected, strict=True):
                worst = max(worst, relative_error(torch.from_numpy(value), wanted))
        if not worst <= tolerance:
            raise ValueError(f"the backbone's maps differ in onnxruntime by {worst:.1e} of the largest value")
    return worst


class _Maps(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone(images).values())
