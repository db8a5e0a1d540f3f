"""Whether an exported network answers as the network that it was exported from."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

BATCHES = (1, 3)
_SAME = 0.999  # of an image's pixels; the classes of some are even to rounding

Case = tuple[int, int, int]  # batch, height, width


@dataclass(frozen=True)
class Comparison:
    """How far the answers of an exported network are from the original's.

    Attributes:
        errors: By batch, height and width: the largest difference of a logit, relative to the largest logit.
        image_error: The same over the images.
        images: Number of images that were compared.
        agreeing: Number of them with the same likeliest class; of a segmenter, in 999 of 1,000 pixels.
        tolerance: Largest error that is accepted.
    """

    errors: dict[Case, float]
    image_error: float
    images: int
    agreeing: int
    tolerance: float

    @property
    def worst(self) -> float:
        """The largest of all errors."""
        return max((*self.errors.values(), self.image_error), key=lambda error: (error != error, error))

    @property
    def fault(self) -> str | None:
        """What is not as it must be, or `None`."""
        if not self.worst <= self.tolerance:  # so that NaN is a fault
            return f"its answers differ by {self.worst:.1e} of the largest logit, more than {self.tolerance:.1e}"
        if self.agreeing < self.images:
            return f"it names another class for {self.images - self.agreeing} of {self.images} images"
        return None

    def to_plain(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        errors = {f"{batch}x3x{height}x{width}": error for (batch, height, width), error in self.errors.items()}
        return {
            "relative_errors": errors,
            "tolerance": self.tolerance,
            "images": self.images,
            "image_error": self.image_error,
            "top1_agreement": self.agreeing / self.images,
        }


@torch.no_grad()
def compare(
    network: nn.Module,
    other: Callable[[Tensor], Tensor],
    sizes: Iterable[tuple[int, int]],
    images: Iterable[Tensor],
    *,
    tolerance: float,
) -> Comparison:
    """Compare an exported network with the original on noise of every size in two batch sizes, and on images.

    Args:
        network: In eval mode, [N, 3, H, W] to [N, classes] or [N, classes, H, W].
        other: The exported network.
        sizes: Heights and widths in pixels.
        images: Batches of network input, [N, 3, H, W].
        tolerance: Largest error that is accepted, relative to the largest logit.
    """
    generator = torch.Generator().manual_seed(0)
    errors = {}
    for height, width in sizes:
        for batch in BATCHES:
            x = torch.randn(batch, 3, height, width, generator=generator)
            errors[batch, height, width] = relative_error(other(x), network(x))
    count, agreeing, image_error = 0, 0, 0.0
    for x in images:
        actual, expected = other(x), network(x)
        error = relative_error(actual, expected)
        image_error = max(image_error, error) if error == error else error
        count += len(x)
        same = (actual.argmax(1) == expected.argmax(1)).reshape(len(x), -1).double().mean(1)
        agreeing += int((same >= _SAME).sum())
    return Comparison(errors, image_error, count, agreeing, tolerance)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest magnitude expected; NaN where either holds one."""
    difference = (actual.double() - expected.double()).abs().max()
    return float(difference / expected.double().abs().max().clamp_min(torch.finfo(torch.float32).tiny))
