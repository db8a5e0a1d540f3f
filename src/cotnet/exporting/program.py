"""A network as a `torch.export` program, and the program as a file in each format, standard operators alone."""

import contextlib
import copy
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx.experimental import _config

from cotnet.fusing.batch_norm import fold_batchnorms
from cotnet.layers import CoTLayer, CoXtLayer

INPUT, OUTPUT = "images", "logits"
KEY = "cotnet"  # of the description inside an exported file
OPSET = 20
_STEP = 32  # pixels between the two sizes that a network is tried at


def other_size(size: int) -> tuple[int, int]:
    """Height and width of a second, oblong image to try a network at."""
    return size + _STEP, size


@torch.no_grad()
def trace(network: nn.Module, size: int) -> ExportedProgram:
    """The program of a network [N, 3, H, W] to [N, classes], for any batch, and for any size if the network takes any.

    Args:
        network: In eval mode, on the CPU.
        size: Side of its usual images in pixels.

    Raises:
        ValueError: The network takes no images of that size, or cannot be traced for every batch size.
    """
    try:
        network(torch.zeros(2, 3, size, size))
    # A network can fail in any way at a size that it does not take.
    except Exception as error:
        raise ValueError(f"the network takes no images of {size} pixels: {_first_line(error)}") from error
    sample = torch.zeros(2, 3, *other_size(size))
    auto: Any = torch.export.Dim.AUTO
    with _quietly():
        try:
            network(sample)
            return _export(network, sample, {0: auto, 2: auto, 3: auto})
        except Exception:  # a network of one size, e.g. with position embeddings
            sample = torch.zeros(2, 3, size, size)
        try:
            return _export(network, sample, {0: auto})
        except Exception as error:
            raise ValueError(f"the network cannot be exported: {_first_line(error)}") from error


def _export(network: nn.Module, sample: Tensor, dynamic: dict[int, Any]) -> ExportedProgram:
    # Else a program would refuse images so small that some map has a single row or column, unlike the sample's.
    with _config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        program = torch.export.export(network, (sample,), dynamic_shapes=(dynamic,))
    fixed = [axis for axis in dynamic if isinstance(input_shape(program)[axis], int)]
    if fixed:
        raise ValueError(f"its axes {fixed} of the input cannot vary")
    return program


def input_shape(program: ExportedProgram) -> list[int | str]:
    """[batch, 3, height, width] with a name for what may vary and a number for what may not."""
    sides = _shape(program, program.graph_signature.user_inputs[0])
    axes = ("batch", "channels", "height", "width")
    return [axis if isinstance(side, torch.SymInt) else int(side) for side, axis in zip(sides, axes, strict=True)]


def output_shape(program: ExportedProgram, number: int = 0) -> list[int | str]:
    """As `input_shape`, of an output; an axis that follows from the image's size otherwise has a name of its own."""
    signature = program.graph_signature
    name = signature.user_outputs[number]
    known = dict(zip(map(str, _shape(program, signature.user_inputs[0])), input_shape(program), strict=True))
    return [
        known.get(str(side), f"{name}_{axis}") if isinstance(side, torch.SymInt) else int(side)
        for axis, side in enumerate(_shape(program, name))
    ]


def _shape(program: ExportedProgram, name: str) -> torch.Size:
    [node] = [node for node in program.graph.nodes if node.name == name]
    return node.meta["val"].shape


class Exporter:
    """A network on its way to files, in float32, its BatchNorms folded; what several formats need is done once.

    Args:
        network: In eval mode, on the CPU.
        size: Side of its usual images in pixels.
        outputs: Names of its outputs.

    Raises:
        ValueError: As `trace`; on writing ONNX or OpenVINO: the network needs an operator that is not ONNX's own.
    """

    def __init__(self, network: nn.Module, size: int, outputs: Sequence[str] = (OUTPUT,)):
        self.outputs = outputs
        network = copy.deepcopy(network).requires_grad_(False)
        # Inside the layers the exporter for ONNX folds, and `fuse` would leave rearrangements in the program.
        fold_batchnorms(network, (CoTLayer, CoXtLayer))
        self.program = trace(network, size)

    def write(self, form: str, path: Path, description: dict[str, Any]) -> None:
        """Write one format; the description goes into the file, and can be read from it by the key `KEY`.

        Args:
            form: ``"torch"`` for a ``.pt2`` (extra file), ``"onnx"`` (``metadata_props``), or ``"openvino"``
                (``rt_info``), which is two files, an ``.xml`` and a ``.bin`` beside it.
            path: Path of the file, or of the first one.
            description: Plain values.
        """
        {"torch": self._write_torch, "onnx": self._write_onnx, "openvino": self._write_openvino}[form](
            path, json.dumps(description)
        )

    def _write_torch(self, path: Path, description: str) -> None:
        torch.export.save(self.program, path, extra_files={KEY: description})

    def _write_onnx(self, path: Path, description: str) -> None:
        import onnx

        onnx.helper.set_model_props(self._onnx, {KEY: description})
        onnx.save(self._onnx, path)

    def _write_openvino(self, path: Path, description: str) -> None:
        import openvino

        through = path.with_suffix(".onnx.partial")
        self._write_onnx(through, description)
        model = openvino.convert_model(through)
        through.unlink()
        model.set_rt_info(description, KEY)
        openvino.save_model(model, path, compress_to_fp16=False)

    @cached_property
    def _onnx(self) -> Any:
        import onnx

        with _quietly():
            exported = torch.onnx.export(
                self.program,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=list(self.outputs),
            )
        assert exported is not None
        model = exported.model_proto
        foreign = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
        if foreign or model.functions:
            raise ValueError(f"the network needs operators beyond ONNX's own, of {', '.join(sorted(foreign))}")
        shapes = [input_shape(self.program)]
        shapes += [output_shape(self.program, number) for number in range(len(self.outputs))]
        for value, shape in zip((*model.graph.input, *model.graph.output), shapes, strict=True):
            for dim, side in zip(value.type.tensor_type.shape.dim, shape, strict=False):
                if isinstance(side, str):
                    dim.dim_param = side
        del model.graph.value_info[:]  # it has other names for the axes
        onnx.checker.check_model(model)
        return model


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporters' advice, which is for their own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
