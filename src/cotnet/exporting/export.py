"""Trained networks for other runtimes: written, compared with their origin, and only then given their names."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from cotnet.exporting.artifacts import open_onnx, open_openvino, open_torch
from cotnet.exporting.exporters import INPUT, OPSET, OUTPUT, Exporter, input_shape, other_size, output_shape
from cotnet.exporting.formats import artefact_files
from cotnet.exporting.parity import Parity, compare
from cotnet.files.weights import WeightsCard
from cotnet.prediction.inputs import ImageReader, Reader

NOISE = 16  # images of noise where there are no real ones
_BATCH = 8
_OPENERS: dict[str, Callable[[Path], Callable[[Tensor], Tensor]]] = {
    "torch": open_torch,
    "onnx": open_onnx,
    "openvino": open_openvino,
}


def export(
    network: nn.Module,
    card: WeightsCard,
    stem: Path,
    forms: Sequence[str],
    report: Callable[[str, dict[str, Any], Parity], None],
    *,
    images: Sequence[str] = (),
    tolerance: float = 1e-4,
    read: Reader | None = None,
) -> list[Path]:
    """Write a network in every format asked for; all of them, or after an error none.

    Args:
        network: in eval mode, on the CPU.
        card: its class names and preprocessing.
        stem: of the files; each format adds its ending.
        forms: any of torch, onnx, openvino.
        report: receives each format with its description and its parity, before it is judged.
        images: files to compare the answers on; without any, `NOISE` images of noise.
        tolerance: largest error of a logit, relative to the largest logit.
        read: from an image's path to the network's input, of any size; by default as the card says.

    Returns:
        The files.

    Raises:
        ValueError: the network cannot be exported, or answers differently afterwards.
    """
    size = int(card.preprocessing["input_size"][1])
    reading = (ImageReader(card), _BATCH) if read is None else (read, 1)
    exporter = Exporter(network, size)
    program = exporter.program
    sizes = [(size, size), other_size(size)] if "height" in input_shape(program) else [(size, size)]
    made: list[tuple[Path, Path]] = []
    with tempfile.TemporaryDirectory(dir=stem.parent, prefix=f".{stem.name}.", suffix=".partial") as folder:
        for form in forms:
            description = _describe(card, program, form)
            paths = artefact_files(form, Path(folder) / stem.name)
            exporter.write(form, paths[0], description)
            inputs = _batches(images, *reading) if images else _noise(size)
            other = _OPENERS[form](paths[0])
            try:
                parity = compare(network, other, sizes, inputs, tolerance=tolerance)
            except RuntimeError as error:  # a program holds to what it was traced with
                raise ValueError(f"the {form} artefact cannot be run: {error}; nothing was written") from error
            report(form, description, parity)
            if parity.fault:
                raise ValueError(f"the {form} artefact is wrong: {parity.fault}; nothing was written")
            paths[-1].write_text(json.dumps({**description, "parity": _plain(parity)}, indent=2) + "\n")
            made += zip(paths, artefact_files(form, stem), strict=True)
        for partial, final in made:
            os.replace(partial, final)
    return [final for _, final in made]


def _describe(card: WeightsCard, program: ExportedProgram, form: str) -> dict[str, Any]:
    """What an artefact says about itself. Where the images of training lie is nobody's business."""
    from cotnet._version import __version__

    return {
        "model": card.model,
        "task": card.task,
        "class_names": card.class_names,
        "preprocessing": card.preprocessing,
        "input": {"name": INPUT, "shape": input_shape(program), "dtype": "float32", "order": "RGB"},
        "output": {"name": OUTPUT, "shape": output_shape(program), "dtype": "float32"},
        "written_by": {"cotnet": __version__, "torch": torch.__version__},
        **({} if form == "torch" else {"opset": OPSET}),
    }


def _batches(paths: Sequence[str], read: Reader, count: int) -> Iterator[Tensor]:
    for start in range(0, len(paths), count):
        batch = []
        for path in paths[start : start + count]:
            x = read(path)
            if isinstance(x, str):
                raise ValueError(f"cannot read the image {path}: {x}; repair or remove it")
            batch.append(x)
        yield torch.stack(batch)


def _noise(size: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(0, NOISE, _BATCH):
        yield torch.randn(_BATCH, 3, size, size, generator=generator)


def _plain(parity: Parity) -> dict[str, Any]:
    errors = {f"{batch}x3x{height}x{width}": error for (batch, height, width), error in parity.errors.items()}
    return {
        "relative_errors": errors,
        "tolerance": parity.tolerance,
        "images": parity.images,
        "image_error": parity.image_error,
        "top1_agreement": parity.agreeing / parity.images,
    }
