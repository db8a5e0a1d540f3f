"""Images to calibrate with, and the ranges of a network's values on them."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from cotnet.fusing.cot import FusedCoT
from cotnet.ops.fused_cot import reference
from cotnet.ops.fused_cot.contract import Projections
from cotnet.quantization.graph import Step, Watched
from cotnet.quantization.observers import Observer

_IMAGES = 512  # at the most: more change nothing, and all are held in memory


def gather(calibration: Tensor | Iterable[Any], batch_size: int = 16) -> list[Tensor]:
    """Calibration images as batches of float32 [N, C, H, W].

    Args:
        calibration: A tensor, or a loader or list of tensors or of tuples whose first item is one; images of any
            number, of which the first 512 serve.
        batch_size: Images that go through the network together.

    Raises:
        ValueError: No images, images of different sizes, or values that are not finite.
    """
    images: list[Tensor] = []
    count = 0
    for item in [calibration] if isinstance(calibration, Tensor) else calibration:
        x = item[0] if isinstance(item, (tuple, list)) and item else item
        if not isinstance(x, Tensor) or x.ndim not in (3, 4) or not x.is_floating_point():
            raise ValueError(f"expected calibration images as float tensors [N, C, H, W], got {_described(x)}")
        x = x.detach().cpu().float()
        x = x[None] if x.ndim == 3 else x
        if images and x.shape[1:] != images[0].shape[1:]:
            raise ValueError(
                f"expected calibration images of one size, got {list(images[0].shape[1:])} and {list(x.shape[1:])}; "
                "resize them as for prediction"
            )
        if not torch.isfinite(x).all():
            raise ValueError(f"expected finite calibration images, got NaN or infinite values in batch {len(images)}")
        images.append(x[: _IMAGES - count])
        count += len(images[-1])
        if count >= _IMAGES:
            break
    if count == 0:
        raise ValueError("expected calibration images, got none; a few hundred of the training set will do")
    return list(torch.cat(images).split(batch_size))


def _described(x: Any) -> str:
    return f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__


class Calibration:
    """The ranges of the values that the steps of some traced networks need.

    Args:
        model: The whole network, with ``Watched`` parts.
        steps: Of each part.
        batches: See ``gather``.
    """

    def __init__(self, model: nn.Module, steps: dict[Watched, list[Step]], batches: Sequence[Tensor]):
        self.model, self.steps, self.batches = model, steps, batches
        self.observers: dict[Any, Observer] = {}
        self.sizes: dict[fx.Node, tuple[int, ...]] = {}
        for see in ("see_extremes", "see_counts"):
            for watched, own in steps.items():
                wanted = {node for step in own for node in (step.source, step.out, step.skip) if node is not None}
                watched.watch = _watch(wanted, {s.out: s for s in own}, self, see)
            self._run()

    def _run(self) -> None:
        with torch.inference_mode():
            for batch in self.batches:
                self.model(batch)
        for watched in self.steps:
            watched.watch = None

    def see(self, key: Any, name: str, x: Tensor, see: str) -> None:
        """Take in a value under a key."""
        observer = self.observers.setdefault(key, Observer())
        getattr(observer, see)(x)
        if not math.isfinite(observer.high - observer.low):
            raise ValueError(f"expected finite activations, got NaN or infinite values in {name}; check the weights")


def _watch(wanted: set[fx.Node], steps: dict[fx.Node, Step], calibration: Calibration, see: str) -> Any:
    def watch(node: fx.Node, value: Any, inputs: list[Any]) -> None:
        if node not in wanted:
            return
        calibration.see(node, str(node), value, see)
        calibration.sizes[node] = tuple(value.shape)
        step = steps.get(node)
        if step is not None and isinstance(step.module, FusedCoT):
            for part, x in inside(step.module, inputs[0]).items():
                calibration.see((node, part), f"{step.name}, {part}", x, see)

    return watch


def inside(layer: FusedCoT, x: Tensor) -> dict[str, Tensor]:
    """The static context and the hidden channels of a fused layer's attention."""
    static = layer.static_context(x)
    projections = Projections(*(getattr(layer, name) for name in Projections._fields))
    return {"static": static, "hidden": reference.hidden(x, static, projections, layer.groups)}
