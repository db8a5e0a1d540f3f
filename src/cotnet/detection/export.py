"""Detectors as ONNX programs: the picture in, what `network([picture])` finds out."""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

OPSET = 18
_PARTS = ("boxes", "labels", "scores", "masks")


@dataclass(frozen=True)
class Agreement:
    """How far onnxruntime's detections are from the detector's, over the pictures that were compared.

    Attributes:
        pictures: how many were compared.
        detections: how many objects were found in them.
        boxes: the greatest difference of an edge, in pixels.
        scores: of a score.
        masks: of a mask's probability; 0 without masks.
    """

    pictures: int
    detections: int
    boxes: float
    scores: float
    masks: float


class _OnePicture(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        found = self.network([picture])[0]
        return tuple(found[part] for part in _PARTS if part in found)


def export_detector(network: Any, path: Path, *, example: Tensor) -> Agreement:
    """Write a detector as ONNX for pictures of the example's size, and compare its detections.

    The program takes `picture`, float32 [3, H, W] in 0 to 1, and gives `boxes` [M, 4], `labels` [M], `scores` [M] and
    of a detector with masks `masks` [M, 1, H, W]. Resizing and normalising are inside. It is traced by PyTorch's
    TorchScript exporter, since the number of boxes follows from the picture; the size of the picture is fixed.

    Args:
        network: in eval mode, on the CPU.
        path: the `.onnx` to write; it gets its name only when its detections have been found equal.
        example: a picture [3, H, W] on which something is found.

    Raises:
        ValueError: nothing is found on the example, so that nothing could be compared.
        RuntimeError: onnxruntime finds something else.
    """
    one = _OnePicture(network).eval()
    with torch.no_grad():
        count = len(one(example)[0])
    if count == 0:
        raise ValueError("the detector finds nothing on the example; give a picture with objects")
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
                input_names=["picture"],
                output_names=list(_PARTS[: 4 if masks else 3]),
            )
        agreement = compare(network, partial, [example, example.flip(-1), example.flip(-2)])
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return agreement


def compare(network: Any, path: Path, pictures: list[Tensor]) -> Agreement:
    """Run an exported detector in onnxruntime beside the detector itself.

    Raises:
        RuntimeError: they find different numbers of objects, other classes, or boxes or scores that differ visibly.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    differences = dict.fromkeys(_PARTS, 0.0)
    count = 0
    for picture in pictures:
        with torch.no_grad():
            expected = network([picture])[0]
        actual = session.run(None, {"picture": picture.numpy()})
        for part, value in zip(_PARTS, actual, strict=False):
            wanted = expected[part].numpy()
            if wanted.shape != value.shape:
                raise RuntimeError(f"onnxruntime gives {part} of shape {value.shape}, the detector {wanted.shape}")
            if wanted.size:
                differences[part] = max(differences[part], float(np.abs(wanted - value).max()))
        count += len(expected["boxes"])
    if differences["labels"] or differences["boxes"] > 0.1 or differences["scores"] > 1e-3:
        raise RuntimeError(f"onnxruntime finds something else than the detector: differences {differences}")
    return Agreement(len(pictures), count, differences["boxes"], differences["scores"], differences["masks"])


def export_backbone(network: Any, path: Path, *, height: int, width: int) -> None:
    """Write the body and the pyramid alone as ONNX: normalised pictures [N, 3, H, W] to the maps P2 to P6.

    Args:
        network: a detector in eval mode, on the CPU.
        path: the `.onnx` to write.
        height: of the pictures, in pixels; a multiple of 32.
        width: of the pictures.
    """
    example = torch.rand(2, 3, height, width)
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.onnx.export(
        _Maps(network.backbone).eval(),
        (example,),
        dynamo=True,
        input_names=["pictures"],
        output_names=["p2", "p3", "p4", "p5", "p6"],
        dynamic_shapes=({0: batch},),
        verbose=False,
    )
    assert program is not None
    partial = path.with_name(path.name + ".partial")
    program.save(partial)
    partial.replace(path)


class _Maps(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone(pictures).values())
