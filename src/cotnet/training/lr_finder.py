"""A learning rate by a range test (Smith 2017), on Lightning's tuner."""

import io
import sys
import tempfile
from contextlib import nullcontext, redirect_stderr
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.tuner import Tuner

from cotnet.training.figures import draw_range_test
from cotnet.training.module import TrainingModule

_SMOOTHING = 0.98  # of the losses, in Lightning's tuner
_UNSURE = 10  # steps at the start whose average is of few losses


@dataclass(frozen=True)
class RangeTest:
    """What a range test has found.

    Attributes:
        rates: learning rates of the steps.
        losses: smoothed loss at each.
        suggested: the rate at which the loss falls most steeply over its logarithm, or None where it never falls.
        global_batch: images of a step, over all processes.
    """

    rates: list[float]
    losses: list[float]
    suggested: float | None
    global_batch: int

    @property
    def base_lr(self) -> float | None:
        """The suggestion as the field ``model.base_lr``, for 256 images."""
        return None if self.suggested is None else self.suggested * 256 / self.global_batch


def find_learning_rate(
    model: TrainingModule,
    data: LightningDataModule,
    trainer: Trainer,
    *,
    image: Path,
    steps: int = 100,
    lowest: float = 1e-5,
    highest: float = 10.0,
) -> RangeTest:
    """Train a few steps while the learning rate grows from one to the next by a constant factor, and draw the loss.

    It stops early where the loss has grown to four times its best. The network's weights are as they were afterwards.

    Args:
        model: Checked by `prepare`.
        data: Set up.
        trainer: Without logger and without callbacks of this package.
        image: The PNG to write.
        steps: At most so many.
        lowest: The first learning rate.
        highest: The last one.

    Raises:
        ValueError: The loss was not finite from the first steps on.
    """
    quiet = nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())  # its bar is for terminals
    with tempfile.TemporaryDirectory() as folder, quiet:  # the tuner puts the weights there, to restore them
        trainer._default_root_dir = folder  # type: ignore[attr-defined]
        finder = Tuner(trainer).lr_find(
            model, datamodule=data, min_lr=lowest, max_lr=highest, num_training=steps, update_attr=False
        )
    assert finder is not None
    rates, losses = np.array(finder.results["lr"]), unbiased(np.array(finder.results["loss"]))
    finite = np.isfinite(losses)
    if finite.sum() < 3:
        raise ValueError("the loss was not finite at the lowest learning rates already; look at data and network")
    rates, losses = rates[finite], losses[finite]
    found = RangeTest(rates.tolist(), losses.tolist(), steepest(rates, losses), model.global_batch)
    if trainer.is_global_zero:
        draw_range_test(found.rates, found.losses, found.suggested, image)
    return found


def unbiased(losses: np.ndarray) -> np.ndarray:
    """Lightning's smoothed losses with the weight that they should have.

    Its average of t + 1 losses, which starts at zero, is divided by 1 - b^(t + 2) in the place of 1 - b^(t + 1): the
    first loss comes out at about half of what it is.
    """
    steps = np.arange(len(losses))
    return losses * (1 - _SMOOTHING ** (steps + 2)) / (1 - _SMOOTHING ** (steps + 1))


def steepest(rates: np.ndarray, losses: np.ndarray) -> float | None:
    """The rate at which the loss falls most steeply over the rate's logarithm; the first steps are too few to tell."""
    if len(rates) <= _UNSURE + 2:
        return None
    slopes = np.gradient(losses, np.log(rates))[_UNSURE:]
    return float(rates[_UNSURE + slopes.argmin()]) if slopes.min() < 0 else None
