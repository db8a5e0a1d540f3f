"""How much each step alone changes its own output, and which steps stay in floats for it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from cotnet.quantization.build import Ranges, scale_of
from cotnet.quantization.graph import Step, Watched
from cotnet.quantization.modules import Dequantize, Int8Module, Quantize


def noise(
    model: nn.Module,
    parts: dict[Watched, list[Step]],
    modules: dict[fx.Node, Int8Module],
    ranges: Ranges,
    batches: Sequence[Tensor],
) -> dict[fx.Node, float]:
    """For each step the mean square of what rounding changes in its output, relative to the output's variance.

    Args:
        model: The whole network in floats, with ``Watched`` parts.
        parts: The steps of each part.
        modules: Of integers, for each step.
        ranges: What bytes stand for.
        batches: Images.
    """
    squares: dict[fx.Node, float] = {}
    variances: dict[fx.Node, float] = {}
    for watched, own in parts.items():
        watched.watch = _compare({step.out: step for step in own}, modules, ranges, squares, variances)
    with torch.inference_mode():
        for batch in batches:
            model(batch)
    for watched in parts:
        watched.watch = None
    return {node: squares[node] / variances[node] if variances[node] > 0 else 0.0 for node in squares}


def _compare(
    steps: dict[fx.Node, Step],
    modules: dict[fx.Node, Int8Module],
    ranges: Ranges,
    squares: dict[fx.Node, float],
    variances: dict[fx.Node, float],
) -> Any:
    wanted = {node for step in steps.values() for node in (step.source, step.skip) if node is not None}
    seen: dict[fx.Node, Tensor] = {}

    def watch(node: fx.Node, value: Any, inputs: list[Any]) -> None:
        step = steps.get(node)
        if step is not None and not step.keeps_scale:
            arguments = [seen[n] for n in (step.source, step.skip) if n is not None]
            y = modules[node](*arguments)
            if not step.to_float:
                y = Dequantize(scale_of(node, steps, ranges))(y)
            squares[node] = squares.get(node, 0.0) + float((y - value).square().sum(dtype=torch.float64))
            centred = value - value.mean([d for d in range(value.ndim) if d != 1], keepdim=True)
            variances[node] = variances.get(node, 0.0) + float(centred.square().sum(dtype=torch.float64))
        if node in wanted:
            seen[node] = Quantize(scale_of(node, steps, ranges))(value)

    return watch
