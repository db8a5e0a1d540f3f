"""``quantize``: a copy of a network for CPUs that works on bytes."""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, fx, nn

from cotnet.quantization.assembly import QuantizationReport, assemble, build_all, is_quantized, parts_of
from cotnet.quantization.build import Ranges
from cotnet.quantization.calibration import Calibration, gather
from cotnet.quantization.folder import images_of
from cotnet.quantization.graph import Step, Watched, plan
from cotnet.quantization.observers import METHODS, Method
from cotnet.quantization.scales import ByteScale
from cotnet.quantization.sensitivity import noise

LARGEST_NOISE = 0.05  # of a step's output, relative to its variance, that is still quantized
_IMAGES_TO_COMPARE = 32


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

    fused, parts = parts_of(model)
    steps = {watched: plan(watched.traced, in_floats) for watched in parts}
    ranges = _Observed(Calibration(fused, steps, batches), observer, correct_bias)
    found = _one_pixel(steps, ranges)
    if found:
        in_floats |= found
        steps = {watched: plan(watched.traced, in_floats) for watched in parts}
    modules = build_all(steps, ranges)
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
        modules = build_all(steps, ranges)
    report = QuantizationReport(
        observer=observer,
        corrects_bias=correct_bias,
        images=sum(map(len, batches)),
        in_floats=in_floats,
        noise={name: n for name, n in noises.items() if name not in in_floats},
    )
    return assemble(model, fused, parts, steps, modules, ranges, report)


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
