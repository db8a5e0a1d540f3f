"""``quantize``: a copy of a network for CPUs that works on bytes."""

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from cotnet.fusing.api import fuse
from cotnet.fusing.cot import FusedCoT
from cotnet.quantization.build import Ranges, build, put_together
from cotnet.quantization.calibration import Calibration, gather
from cotnet.quantization.folder import images_of
from cotnet.quantization.graph import Step, Watched, plan, trace
from cotnet.quantization.modules import Int8Module, refuse_training
from cotnet.quantization.observers import METHODS, Method
from cotnet.quantization.scales import ByteScale
from cotnet.quantization.sensitivity import noise

LARGEST_NOISE = 0.05  # of a step's output, relative to its variance, that is still quantized
_IMAGES_TO_COMPARE = 32


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

    def __str__(self) -> str:
        lines = [f"{len(self.noise)} modules in integers, {len(self.in_floats)} in floats; {self.images} images"]
        return "\n".join(lines + [f"  {name}: {reason}" for name, reason in self.in_floats.items()])


def quantize(
    model: nn.Module,
    calibration: Tensor | Iterable[Any] | str | Path,
    *,
    observer: Method = "mse",
    correct_bias: bool = True,
    keep_in_floats: Sequence[str] = (),
    largest_noise: float = LARGEST_NOISE,
    preprocess: Callable[[Any], Tensor] | None = None,
) -> nn.Module:
    """A copy of a network for CPUs whose activations are uint8 and whose weights are int8. The network stays as it is.

    Static post-training quantization: BatchNorms are folded first, weights are symmetric with a scale for each channel,
    activations have one scale and zero for each value, a sum with its skip is rounded once. The copy takes and returns
    float32. It serves inference only, and its ``report`` says what stays in floats.

    Args:
        model: A network of the family, a CoT or CoXt layer, or any other network of convolutions.
        calibration: A few hundred images as the network takes them: a tensor [N, C, H, W], a loader or list of tensors
            or of tuples that begin with one, or a folder of image files.
        observer: How the range of a value follows from those: its extremes, its percentiles or the least squares.
        correct_bias: Correct biases by what rounding the weights changes in the mean of the outputs.
        keep_in_floats: Names of modules to leave in floats.
        largest_noise: A module that alone changes its output by more stays in floats: the mean square of the change,
            relative to the output's variance.
        preprocess: From a PIL image to a tensor [C, H, W], for a folder; the network's own by default.

    Returns:
        The quantized copy.

    Raises:
        ValueError: There are no calibration images, they differ in size or are not finite; the network is quantized
            already, or has nothing to quantize; an unknown observer or module.
    """
    if observer not in METHODS:
        raise ValueError(f"expected observer {', '.join(map(repr, METHODS))}, got {observer!r}")
    if is_quantized(model):
        raise ValueError("the network is quantized already; quantize the one that it was made from")
    if isinstance(calibration, (str, Path)):
        calibration = images_of(Path(calibration), model, preprocess)
    batches = gather(calibration)
    in_floats = dict.fromkeys(keep_in_floats, "asked for")
    unknown = [name for name in keep_in_floats if name not in dict(model.named_modules())]
    if unknown:
        raise ValueError(f"expected names of modules to keep in floats, got {', '.join(map(repr, unknown))}")

    fused, parts = _parts(model)
    steps = {watched: plan(watched.traced, in_floats) for watched in parts}
    ranges = _Observed(Calibration(fused, steps, batches), observer, correct_bias)
    found = _one_pixel(steps, ranges)
    if found:
        in_floats |= found
        steps = {watched: plan(watched.traced, in_floats) for watched in parts}
    modules = _build(steps, ranges)
    some = batches[: math.ceil(_IMAGES_TO_COMPARE / len(batches[0]))]
    noises = {name: n for name, n in _named(steps, noise(fused, steps, modules, ranges, some)).items()}
    loud = {name: n for name, n in noises.items() if not n <= largest_noise}
    if loud:
        shares = _shares(steps, ranges)
        in_floats |= {
            name: f"alone it changes its output by {math.sqrt(n):.0%} (root mean square), "
            f"its cost is {shares.get(name, 0.0):.1%} of the multiplications in floats"
            for name, n in loud.items()
        }
        steps = {watched: plan(watched.traced, in_floats) for watched in parts}
        modules = _build(steps, ranges)
    report = QuantizationReport(
        observer=observer,
        corrects_bias=correct_bias,
        images=sum(map(len, batches)),
        in_floats=in_floats,
        noise={name: n for name, n in noises.items() if name not in in_floats},
    )
    return _assemble(model, fused, parts, steps, modules, ranges, report)


def restore(model: nn.Module, entries: dict[str, Tensor], in_floats: dict[str, str]) -> nn.Module:
    """A quantized network from the state dict of one, and the architecture in floats that it was made from.

    Args:
        model: The architecture, with any weights.
        entries: The state dict.
        in_floats: ``in_floats`` of the quantized network's report.

    Raises:
        ValueError: The entries are not those of such a network.
    """
    fused, parts = _parts(model)
    steps = {watched: plan(watched.traced, in_floats) for watched in parts}
    ranges = Ranges()
    report = QuantizationReport(observer="", corrects_bias=False, images=0, in_floats=dict(in_floats))
    restored = _assemble(model, fused, parts, steps, _build(steps, ranges), ranges, report)
    try:
        restored.load_state_dict(entries)
    except RuntimeError as error:
        raise ValueError(f"the entries do not fit the quantized network: {str(error).splitlines()[-1].strip()}") from error
    return restored


def is_quantized(model: nn.Module) -> bool:
    """Whether a network has parts in integers already."""
    return any(
        isinstance(m, Int8Module) or type(m).__module__.startswith(("torch.ao.nn.quantized", "torchao."))
        for m in model.modules()
    )


class _Observed(Ranges):
    def __init__(self, calibration: Calibration, observer: Method, correct_bias: bool):
        self.calibration, self.correct_bias = calibration, correct_bias
        ranges = {key: seen.range(observer) for key, seen in calibration.observers.items()}
        # What only moves bytes has the scale of what it takes, which must have room for what it makes: maxima lie where
        # there are few of the values before.
        for step in (step for own in calibration.steps.values() for step in reversed(own) if step.keeps_scale):
            pairs = zip(ranges[step.source], ranges[step.out], (min, max), strict=True)
            low, high = (choose(a, b) for a, b, choose in pairs)
            ranges[step.source] = low, high
        self._scales = {key: ByteScale.of_range(*ends) for key, ends in ranges.items()}

    def scale(self, key: Any) -> ByteScale:
        return self._scales[key]

    def means(self, key: Any) -> Tensor | None:
        return self.calibration.observers[key].means if self.correct_bias else None


class _Single(nn.Module):
    """One layer as a network."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def _parts(model: nn.Module) -> tuple[nn.Module, list[Watched]]:
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


def _build(steps: dict[Watched, list[Step]], ranges: Ranges) -> dict[fx.Node, Int8Module]:
    return {step.out: build(step, {s.out: s for s in own}, ranges) for own in steps.values() for step in own}


def _named(steps: dict[Watched, list[Step]], values: dict[fx.Node, float]) -> dict[str, float]:
    names: dict[str, float] = {}
    for step in (step for own in steps.values() for step in own if step.out in values):
        names[step.name] = max(values[step.out], names.get(step.name, 0.0))
    return names


def _one_pixel(steps: dict[Watched, list[Step]], ranges: _Observed) -> dict[str, str]:
    """Convolutions of one pixel, as of a squeeze and excitation: bytes would cost them more than they gain."""
    sizes = ranges.calibration.sizes
    return {
        step.name: "it has one pixel, in floats at no cost"
        for own in steps.values()
        for step in own
        if isinstance(step.module, nn.Conv2d) and sizes[step.source][2:] == (1, 1)
    }


def _shares(steps: dict[Watched, list[Step]], ranges: _Observed) -> dict[str, float]:
    """The share of each module in all multiplications."""
    costs: dict[str, float] = {}
    for step in (step for own in steps.values() for step in own):
        pixels = math.prod(ranges.calibration.sizes[step.out][2:])
        weights = sum(p.numel() for p in step.module.parameters() if p.ndim > 1)
        costs[step.name] = costs.get(step.name, 0.0) + pixels * weights
    return {name: cost / max(sum(costs.values()), 1) for name, cost in costs.items()}


def _assemble(
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
        raise ValueError(f"nothing of {type(model).__name__} can be quantized: it has no convolutions that can be traced")
    built = {watched: put_together(watched.traced, steps[watched], modules, ranges) for watched in parts}
    if isinstance(fused, Watched):
        fused = built[fused]
    else:
        for name, module in list(fused.named_modules()):
            if module in built:
                fused.set_submodule(name, built[module])  # type: ignore[index]
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
