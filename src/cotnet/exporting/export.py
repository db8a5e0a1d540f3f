"""Trained networks for other runtimes: written, compared with their origin, and only then given their names."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from cotnet.exporting.comparison import Comparison, compare
from cotnet.exporting.formats import export_files
from cotnet.exporting.program import INPUT, OPSET, OUTPUT, Exporter, input_shape, other_size, output_shape
from cotnet.exporting.runtimes import open_onnx, open_openvino, open_torch
from cotnet.files.image import UnreadableImageError
from cotnet.files.weights import WeightsCard

NOISE = 16  # images of noise where there are no real ones
_BATCH = 8
_OPENERS: dict[str, Callable[[Path], Callable[[Tensor], Tensor]]] = {
    "torch": open_torch,
    "onnx": open_onnx,
    "openvino": open_openvino,
}

Read = Callable[[str], "Tensor | str"]


@dataclass(frozen=True)
class ExportReport:
    """A network in one format; as text, it says how far its answers are from the original's.

    Attributes:
        form: ``"torch"``, ``"onnx"`` or ``"openvino"``.
        files: The files, the one to open first and its description last.
        description: What the file says about itself.
        summary: The report in words.
        comparison: How its answers compare with the network's; None of a detector, which `summary` speaks of.
    """

    form: str
    files: list[Path]
    description: dict[str, Any]
    summary: str
    comparison: Comparison | None = None

    def __str__(self) -> str:
        return self.summary


def export(
    network: nn.Module,
    card: WeightsCard,
    stem: Path,
    forms: Sequence[str],
    *,
    read: Read,
    images: Sequence[str] = (),
    image_kind: str = "images",
    tolerance: float = 1e-4,
    batch_size: int = _BATCH,
) -> Iterator[ExportReport]:
    """Write a network in every format asked for; all of them, or after an error none.

    The files get their names when the iterator has ended.

    Args:
        network: In eval mode, on the CPU.
        card: Its class names and preprocessing.
        stem: Path of the files without ending; each format adds its own.
        forms: Any of torch, onnx, openvino.
        read: From an image's path to the network's input, or to a sentence on why it cannot be read.
        images: Paths of images to compare the answers on; without any, `NOISE` images of noise.
        image_kind: What the report calls these.
        tolerance: Largest error of a logit, relative to the largest logit.
        batch_size: Images at a time; 1 where their inputs have several sizes.

    Yields:
        The report of each format, before it is judged.

    Raises:
        ValueError: The network cannot be exported, or answers differently afterwards.
    """
    size = int(card.preprocessing["input_size"][1])
    exporter = Exporter(network, size)
    program = exporter.program
    sizes = [(size, size), other_size(size)] if "height" in input_shape(program) else [(size, size)]
    made: list[tuple[Path, Path]] = []
    with tempfile.TemporaryDirectory(dir=stem.parent, prefix=f".{stem.name}.", suffix=".partial") as folder:
        for form in forms:
            description = _describe(card, program, form)
            paths, files = export_files(form, Path(folder) / stem.name), export_files(form, stem)
            exporter.write(form, paths[0], description)
            inputs = _batches(images, read, batch_size) if images else _noise(size)
            other = _OPENERS[form](paths[0])
            try:
                comparison = compare(network, other, sizes, inputs, tolerance=tolerance)
            except RuntimeError as error:  # a program holds to what it was traced with
                raise ValueError(f"the exported {form} file cannot be run: {error}; nothing was written") from error
            summary = _summary(form, description, comparison, image_kind)
            yield ExportReport(form, files, description, summary, comparison)
            if comparison.fault:
                raise ValueError(f"the exported {form} file is wrong: {comparison.fault}; nothing was written")
            text = json.dumps({**description, "parity": comparison.to_plain()}, indent=2)
            paths[-1].write_text(f"{text}\n", encoding="utf-8")
            made += zip(paths, files, strict=True)
        for partial, final in made:
            os.replace(partial, final)


def _describe(card: WeightsCard, program: ExportedProgram, form: str) -> dict[str, Any]:
    """What an exported file says about itself; not where the images of training are, which is private."""
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


def _summary(form: str, description: dict[str, Any], comparison: Comparison, image_kind: str) -> str:
    ends = (description[end] for end in ("input", "output"))
    shapes = " to ".join(f"{end['name']} [{', '.join(map(str, end['shape']))}]" for end in ends)
    lines = [f"{form}: {shapes}" + (f", opset {description['opset']}" if "opset" in description else "")]
    lines.append(f"  largest error of a logit, relative to the largest logit; tolerance {comparison.tolerance:.0e}")
    for (batch, height, width), error in comparison.errors.items():
        lines.append(f"    batch {batch}, {height} x {width} pixels  {error:.1e}")
    lines.append(f"    images  {comparison.image_error:.1e}")
    per_pixel = len(description["output"]["shape"]) == 4
    same = "the classes of 999 in 1,000 pixels agree" if per_pixel else "top-1 agrees"
    lines.append(f"  {same} on {comparison.agreeing} of {comparison.images} {image_kind}")
    return "\n".join(lines)


def _batches(paths: Sequence[str], read: Read, count: int) -> Iterator[Tensor]:
    for start in range(0, len(paths), count):
        batch = []
        for path in paths[start : start + count]:
            x = read(path)
            if isinstance(x, str):
                raise UnreadableImageError(x)
            batch.append(x)
        yield torch.stack(batch)


def _noise(size: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(0, NOISE, _BATCH):
        yield torch.randn(_BATCH, 3, size, size, generator=generator)
