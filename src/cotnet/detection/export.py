"""Detectors as ONNX programs: the image in, what `network([image])` finds out."""

import json
import logging
import warnings
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cotnet.exporting.exporters import INPUT, KEY, Exporter, input_shape, other_size
from cotnet.exporting.parity import BATCHES, relative_error

OPSET = 18
MAPS = ("p2", "p3", "p4", "p5", "p6")
_PARTS = ("boxes", "labels", "scores", "masks")


@dataclass(frozen=True)
class Agreement:
    """How far onnxruntime's detections are from the detector's, over the images that were compared.

    Attributes:
        images: how many were compared.
        detections: how many objects were found in them.
        boxes: the greatest difference of an edge, in pixels.
        scores: of a score.
        masks: of a mask's probability; 0 without masks.
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

    The program takes `image`, float32 [3, H, W] in 0 to 1, and gives `boxes` [M, 4], `labels` [M], `scores` [M] and
    of a detector with masks `masks` [M, 1, H, W]. Resizing and normalising are inside. It is traced by PyTorch's
    TorchScript exporter, since the number of boxes follows from the image; the size of the image is fixed.

    Args:
        network: in eval mode, on the CPU.
        path: the `.onnx` to write; it gets its name only when its detections have been found equal.
        example: an image [3, H, W] on which something is found.
        description: plain values that are kept in the file.

    Raises:
        ValueError: nothing is found on the example, so that nothing could be compared.
        RuntimeError: onnxruntime finds something else.
    """
    one = _OneImage(network).eval()
    with torch.no_grad():
        count = len(one(example)[0])
    if count == 0:
        raise ValueError("the detector finds nothing on the example; give an image with objects")
    masks = network.roi_heads.has_mask()
    partial = path.with_name(path.name + ".partial")
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracer's advice; what it got wrong would show in the comparison
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            torch.onnx.export(
                one,
                (example,),
                partial,
                opset_version=OPSET,
                dynamo=False,
                input_names=["image"],
                output_names=list(_PARTS[: 4 if masks else 3]),
            )
        if description is not None:
            _describe(partial, description)
        agreement = compare(network, partial, [example, example.flip(-1), example.flip(-2)])
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return agreement


def _describe(path: Path, description: dict[str, Any]) -> None:
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {KEY: json.dumps(description)})
    onnx.save(model, path)


def compare(network: Any, path: Path, images: list[Tensor]) -> Agreement:
    """Run an exported detector in onnxruntime beside the detector itself.

    Raises:
        RuntimeError: they find different numbers of objects, other classes, or boxes, scores or masks that differ.
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
        actual = session.run(None, {"image": image.numpy()})
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
        network: a detector in eval mode, on the CPU.
        path: the `.onnx` to write; it gets its name only when its maps have been found equal.
        size: side of the images to compare on, in pixels; they are noise.
        tolerance: largest error of a map, relative to its largest value.

    Returns:
        The largest such error.

    Raises:
        ValueError: the body cannot be exported, or onnxruntime computes something else.
    """
    import onnxruntime

    maps = _Maps(network.backbone).eval()
    exporter = Exporter(maps, size, outputs=MAPS)
    partial = path.with_name(path.name + ".partial")
    try:
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
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return worst


class _Maps(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone(images).values())
