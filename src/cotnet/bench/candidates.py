"""What is measured: a network in a mode of inference, a float type and a batch size."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from cotnet.bench.peers import PEERS
from cotnet.exporting.formats import ENDINGS, missing_packages
from cotnet.exporting.program import Exporter
from cotnet.exporting.runtimes import open_onnx, open_openvino
from cotnet.fusing.api import fuse
from cotnet.models.memory_format import to_layout

LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@dataclass(frozen=True)
class Candidate:
    """One thing to measure.

    Attributes:
        model: name in timm's registry, or of a peer.
        mode: of `MODES`.
        dtype: `"float32"` or `"bfloat16"`.
        batch: images a call.
        size: their side in pixels.
    """

    model: str
    mode: str
    dtype: str
    batch: int
    size: int


@dataclass(frozen=True)
class Setting:
    """How all of a run is measured.

    Attributes:
        threads: of every runtime.
        layout: of `LAYOUTS`.
        blocks: of each candidate.
        block_ms: about how long a block is.
        folder: where exported networks are kept while the run lasts.
    """

    threads: int
    layout: str
    blocks: int
    block_ms: float
    folder: Path


class UnavailableError(Exception):
    """Why a mode cannot serve."""


def create_network(model: str) -> nn.Module:
    """The network in eval mode, its weights random but such that every branch takes part in the answer.

    As they start, norms at the end of residual branches and layer scales are zero or nearly so, and would hide a mode's
    mistakes.
    """
    peer = PEERS.get(model)
    torch.manual_seed(0)
    network = timm.create_model(peer.timm if peer and peer.timm else model, **(peer.kwargs if peer else {})).eval()
    for name, parameter in network.named_parameters():
        if parameter.ndim <= 1:
            if name.endswith("bias"):
                parameter.data.normal_(0, 0.1)
            else:
                parameter.data.uniform_(0.4, 0.9)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return network


def images(candidate: Candidate, setting: Setting) -> Tensor:
    """[N, 3, H, W] of noise, in the candidate's float type and the setting's layout."""
    generator = torch.Generator().manual_seed(candidate.batch)
    x = torch.randn(candidate.batch, 3, candidate.size, candidate.size, generator=generator)
    return x.to(dtype=getattr(torch, candidate.dtype), memory_format=LAYOUTS[setting.layout])


def build(candidate: Candidate, network: nn.Module, setting: Setting) -> Callable[[Tensor], Tensor]:
    """The network in the candidate's mode, ready to be called on its images.

    Args:
        candidate: what to build.
        network: in float32; it is left as it is.
        setting: of the run.

    Raises:
        UnavailableError: the mode cannot serve.
    """
    if candidate.mode not in _TORCH_MODES:
        return _exported(candidate, network, setting)
    network = copy.deepcopy(network).to(getattr(torch, candidate.dtype))
    return _TORCH_MODES[candidate.mode](to_layout(network, LAYOUTS[setting.layout]))


def _compiled(network: nn.Module) -> Callable[[Tensor], Tensor]:
    return torch.compile(network, dynamic=False)


def _frozen(network: nn.Module) -> Callable[[Tensor], Tensor]:
    return torch.compile(network, dynamic=False, options={"freezing": True})


_TORCH_MODES: dict[str, Callable[[nn.Module], Callable[[Tensor], Tensor]]] = {
    "eager": lambda network: network,
    "compiled": _compiled,
    "frozen": _frozen,
    "fused": fuse,
    "fused-frozen": lambda network: _frozen(fuse(network)),
}
MODES = (*_TORCH_MODES, "onnxruntime", "openvino")


def _exported(candidate: Candidate, network: nn.Module, setting: Setting) -> Callable[[Tensor], Tensor]:
    onnx = candidate.mode == "onnxruntime"
    form = "onnx" if onnx else "openvino"
    if missing := missing_packages(form):
        raise UnavailableError(missing)
    short = candidate.dtype == "bfloat16"
    if short and (onnx or not _openvino_has_bfloat16()):
        raise UnavailableError(f"{candidate.mode} has no bfloat16 on this processor")
    path = setting.folder / f"{candidate.model}-{candidate.size}{ENDINGS[form]}"
    if not path.exists():
        Exporter(network, candidate.size).write(form, path, {})
    if onnx:
        return open_onnx(path, threads=setting.threads)
    run = open_openvino(path, threads=setting.threads, precision="bf16" if short else "f32")
    return lambda x: run(x.float())


def _openvino_has_bfloat16() -> bool:
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
