"""From a network in floats to its parts that can be traced, and from the quantized parts to the network."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor, fx, nn

from cotnet.fusing.api import fuse
from cotnet.fusing.cot import FusedCoT
from cotnet.quantization.build import Ranges, build, put_together
from cotnet.quantization.graph import Step, Watched, trace
from cotnet.quantization.modules import Int8Module, refuse_training


@dataclass(frozen=True, kw_only=True)
class QuantizationReport:
    """What became bytes, and what did not.

    Attributes:
        observer: How ranges were chosen.
        corrects_bias: Whether biases make up for what rounding weights changes in the mean.
        images: Number of calibration images.
        in_floats: Names of modules that stay in floats, with the reason and the cost.
        noise: For each module in integers, the mean square of what it alone changes in its output, relative to the
            output's variance.
    """

    observer: str
    corrects_bias: bool
    images: int
    in_floats: dict[str, str] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """Plain values, for a card."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{len(self.noise)} modules in integers, {len(self.in_floats)} in floats; {self.images} images"]
        return "\n".join(lines + [f"  {name}: {reason}" for name, reason in self.in_floats.items()])


def is_quantized(model: nn.Module) -> bool:
    """Whether a network has parts in integers already."""
    return any(
        isinstance(m, Int8Module) or type(m).__module__.startswith(("torch.ao.nn.quantized", "torchao."))
        for m in model.modules()
    )


class _Single(nn.Module):
    """One layer as a network."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def parts_of(model: nn.Module) -> tuple[nn.Module, list[Watched]]:
    """The network in floats, fused, and the parts of it that can be traced, watched in their places."""
    fused = fuse(copy.deepcopy(model).cpu().float())
    if isinstance(fused, (FusedCoT, nn.Conv2d, nn.Linear)):
        fused = _Single(fused)
    parts: list[Watched] = []

    def visit(module: nn.Module) -> nn.Module:
        traced = trace(module)
        if traced is not None:
            parts.append(Watched(traced))
            return parts[-1]
        for name, child in list(module.named_children()):
            if next(child.children(), None) is not None or isinstance(child, (nn.Conv2d, nn.Linear)):
                setattr(module, name, visit(child if next(child.children(), None) is not None else _Single(child)))
        return module

    return visit(fused), parts


def build_all(steps: dict[Watched, list[Step]], ranges: Ranges) -> dict[fx.Node, Int8Module]:
    """The modules of all steps."""
    return {step.out: build(step, {s.out: s for s in own}, ranges) for own in steps.values() for step in own}


def assemble(
    model: nn.Module,
    fused: nn.Module,
    parts: Sequence[Watched],
    steps: dict[Watched, list[Step]],
    modules: dict[fx.Node, Int8Module],
    ranges: Ranges,
    report: QuantizationReport,
) -> nn.Module:
    """Put the quantized parts in the places of the watched ones."""
    if not any(steps.values()):
        reason = "it has no convolutions that can be traced"
        if report.in_floats:
            name, why = next(iter(report.in_floats.items()))
            reason = f"all its {len(report.in_floats)} modules are to stay in floats, {name} because {why}"
        raise ValueError(f"nothing of {type(model).__name__} can be quantized: {reason}")
    built = {watched: put_together(watched.traced, steps[watched], modules, ranges) for watched in parts}
    if isinstance(fused, Watched):
        fused = built[fused]
    else:
        for name, module in list(fused.named_modules()):
            if module in built:
                fused.set_submodule(name, built[module])
    # What callers ask a network for: its configuration, classes and features.
    for name, value in vars(model).items():
        if not name.startswith("_") and not hasattr(fused, name) and not isinstance(value, (Tensor, nn.Module)):
            setattr(fused, name, value)
    fused.report = report  # type: ignore[assignment]
    fused.requires_grad_(False).eval()
    _refuse_training(fused)
    return fused


def _refuse_training(model: nn.Module) -> None:
    """Have ``train`` of this one module refuse before it has changed anything, whatever the module's class."""

    def train(mode: bool = True) -> nn.Module:
        refuse_training(mode)
        return type(model).train(model, False)

    model.train = train  # type: ignore[method-assign]
