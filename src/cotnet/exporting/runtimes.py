"""Exported networks opened again: each as a module from images to logits, with its description."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cotnet.exporting.formats import ENDINGS
from cotnet.exporting.program import KEY
from cotnet.files.weights import WeightsCard


class ExportedNetwork(nn.Module):
    """An exported network in its own runtime on the CPU: [N, 3, H, W] to [N, classes].

    Args:
        run: From a contiguous float32 array to an array.
        description: What the file says about itself.
    """

    def __init__(self, run: Any, description: Any):
        super().__init__()
        self.run, self.description = run, description

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, classes].

        Raises:
            RuntimeError: The runtime refuses the input, e.g. for its size.
        """
        try:
            return torch.as_tensor(self.run(x.cpu().contiguous().numpy())).to(x.device)
        # Those of onnxruntime have no common base but Exception.
        except Exception as error:
            reason = " ".join(str(error).split())
            raise RuntimeError(f"an exported network cannot be run on an input of {list(x.shape)}: {reason}") from error


def open_onnx(path: Path, *, threads: int | None = None) -> ExportedNetwork:
    """Open an ONNX file with onnxruntime.

    Args:
        path: The ``.onnx`` file.
        threads: Number of threads; default as many as torch has.

    Raises:
        ValueError: The file is damaged or no network.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    # Its errors have no common base but Exception.
    except Exception as error:
        raise ValueError(f"{path} is damaged or no ONNX network: {' '.join(str(error).split())}") from error
    name = session.get_inputs()[0].name
    text = session.get_modelmeta().custom_metadata_map.get(KEY, "null")
    return ExportedNetwork(lambda x: session.run(None, {name: x})[0], _plain(text))


def open_openvino(path: Path, *, threads: int | None = None, precision: str = "f32") -> ExportedNetwork:
    """Open OpenVINO's `.xml` with the `.bin` beside it.

    Args:
        path: The ``.xml`` file.
        threads: Number of threads; default as many as torch has.
        precision: ``"f32"`` or ``"bf16"``; by default OpenVINO would take the shorter where the processor has it.

    Raises:
        ValueError: The files are damaged or no network.
    """
    import openvino

    config = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        model = openvino.Core().read_model(path)
        text = model.get_rt_info(KEY).astype(str) if model.has_rt_info(KEY) else "null"
        compiled = openvino.Core().compile_model(model, "CPU", config)
    except RuntimeError as error:
        raise ValueError(f"{path} is damaged or no OpenVINO network: {' '.join(str(error).split())}") from error
    return ExportedNetwork(lambda x: compiled(x)[0], _plain(text))


def open_torch(path: Path) -> ExportedNetwork:
    """Open a `.pt2` that this process has written; the loader of torch is not made for files of unknown origin."""
    extra = {KEY: ""}
    module = torch.export.load(path, extra_files=extra).module()

    @torch.no_grad()
    def run(x: Any) -> Tensor:
        return module(torch.from_numpy(x))

    return ExportedNetwork(run, _plain(extra[KEY]))


def load_exported(path: Path) -> tuple[nn.Module, WeightsCard]:
    """The network of an exported `.onnx` or `.xml`, of unknown origin, and the card that describes it.

    Raises:
        ValueError: A file that is damaged, or was not written by `cotnet export`.
    """
    network = open_onnx(path) if path.suffix == ENDINGS["onnx"] else open_openvino(path)
    described = network.description if isinstance(network.description, dict) else {}
    if described.get("task", "classification") != "classification":
        raise ValueError(f"{path} is for {described['task']}; this command takes weights.safetensors of such networks")
    if not {"model", "class_names", "preprocessing"} <= described.keys():
        raise ValueError(f"{path} does not say its classes and preprocessing; use a file that `cotnet export` wrote")
    known = {key: described[key] for key in ("model", "class_names", "preprocessing")}
    card = WeightsCard.from_plain({**known, "kwargs": {}, "data": {}, "scores": {}}, name=os.fspath(path))
    return network.eval(), card


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None
