"""What is measured: a network in one mode of inference, one float type and one batch size."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from cotnet.bench.peers import PEERS
from cotnet.exporting.formats import ENDINGS, missing_packages
from cotnet.exporting.program import Exporter
from cotnet.exporting.runtimes import open_onnx, open_openvino
from cotnet.files.machine import available_cpus
from cotnet.fusing.api import fuse
from cotnet.models.memory_format import to_layout

LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@dataclass(frozen=True)
class Candidate:
    """One thing to measure.

    Attributes:
        model: Name in timm's registry, or of a peer.
        mode: One of ``MODES``.
        dtype: ``"float32"`` or ``"bfloat16"``.
        batch: Images per call.
        size: Side of the images in pixels.
    """

    model: str
    mode: str
    dtype: str
    batch: int
    size: int


@dataclass(frozen=True)
class Setting:
    """How all candidates of a run are measured.

    Attributes:
        threads: Threads of every runtime; by default one for each processor that this process may use.
        layout: One of ``LAYOUTS``.
        blocks: Blocks of calls of each candidate, at least 2.
        block_ms: Approximate length of a block in milliseconds.
        folder: Where exported networks are written.
    """

    threads: int = field(default_factory=available_cpus)
    layout: str = "channels_last"
    blocks: int = 9
    block_ms: float = 100
    folder: Path = Path()


class UnavailableError(Exception):
    """A mode cannot be measured; the message says why."""


def create_network(model: str) -> nn.Module:
    """A network in eval mode, with random weights for which every branch contributes to the answer.

    Freshly made networks have norms at the end of residual branches and layer scales that are zero or nearly zero,
    which would hide a mode's mistakes.
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
    """Noise ``[N, 3, H, W]`` in the candidate's float type and the setting's layout."""
    generator = torch.Generator().manual_seed(candidate.batch)
    x = torch.randn(candidate.batch, 3, candidate.size, candidate.size, generator=generator)
    return x.to(dtype=getattr(torch, candidate.dtype), memory_format=LAYOUTS[setting.layout])


def build(candidate: Candidate, network: nn.Module, setting: Setting) -> Callable[[Tensor], Tensor]:
    """The network in the candidate's mode, ready to be called on its images.

    Args:
        candidate: What to build.
        network: The network in float32; it is left as it is.
        setting: The setting of the run.

    Raises:
        UnavailableError: The mode cannot be measured here.
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
    bfloat16 = candidate.dtype == "bfloat16"
    if bfloat16 and (onnx or not _openvino_has_bfloat16()):
        raise UnavailableError(f"{candidate.mode} has no bfloat16 on this processor")
    path = setting.folder / f"{candidate.model}-{candidate.size}{ENDINGS[form]}"
    if not path.exists():
        Exporter(network, candidate.size).write(form, path, {})
    if onnx:
        return open_onnx(path, threads=setting.threads)
    run = open_openvino(path, threads=setting.threads, precision="bf16" if bfloat16 else "f32")
    return lambda x: run(x.float())


def _openvino_has_bfloat16() -> bool:
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
