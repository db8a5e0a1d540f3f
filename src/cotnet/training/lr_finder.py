"""A learning rate by a range test (Smith 2017), on Lightning's tuner."""

import io
import sys
import tempfile
from contextlib import nullcontext, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Trainer
from lightning.pytorch.tuner import Tuner

from cotnet.training.figures import draw_range_test
from cotnet.training.lightning_private import set_root_folder
from cotnet.training.module import TrainingModule
from cotnet.training.protocol import TrainingData

_SMOOTHING = 0.98  # of the losses, in Lightning's tuner
_SKIPPED = 10  # steps at the start, whose average is over too few losses


@dataclass(frozen=True)
class RangeTest:
    """What a range test has found.

    Attributes:
        rates: Learning rates of the steps.
        losses: Smoothed loss at each.
        suggested: The rate at which the loss falls most steeply over its logarithm, or None where it never falls.
        global_batch: Images of a step, over all processes.
        base_batch: Images of the step that ``model.base_lr`` is for.
    """

    rates: list[float]
    losses: list[float]
    suggested: float | None
    global_batch: int
    base_batch: int

    @property
    def base_lr(self) -> float | None:
        """The suggestion as the field ``model.base_lr``."""
        return None if self.suggested is None else self.suggested * self.base_batch / self.global_batch


def find_learning_rate(
    model: TrainingModule,
    data: TrainingData,
    trainer: Trainer,
    *,
    image: Path,
    steps: int = 100,
    lowest: float = 1e-5,
    highest: float = 10.0,
) -> RangeTest:
    """Train a few steps while the learning rate grows by a constant factor from step to step, and draw the loss.

    It stops early where the loss has grown to four times its best. Afterwards the network's weights are restored.

    Args:
        model: Checked by `prepare`.
        data: Set up.
        trainer: Without logger and without callbacks of this package.
        image: The PNG to write.
        steps: The largest number of steps.
        lowest: The first learning rate.
        highest: The last one.

    Raises:
        ValueError: The loss was not finite from the first steps on.
    """
    quiet = nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())  # its bar is for terminals
    with tempfile.TemporaryDirectory() as folder, quiet:  # the tuner puts the weights there, to restore them
        set_root_folder(trainer, folder)
        limits: dict[str, Any] = {"min_lr": lowest, "max_lr": highest, "num_training": steps}
        finder = Tuner(trainer).lr_find(model, datamodule=data, update_attr=False, **limits)  # type: ignore[arg-type]
    assert finder is not None
    rates, losses = np.array(finder.results["lr"]), unbiased(np.array(finder.results["loss"]))
    finite = np.isfinite(losses)
    if finite.sum() < 3:
        raise ValueError("the loss was not finite even at the lowest learning rates; check the data and the network")
    rates, losses = rates[finite], losses[finite]
    found = RangeTest(
        rates.tolist(),
        losses.tolist(),
        steepest(rates, losses),
        global_batch=model.global_batch,
        base_batch=model.base_batch,
    )
    if trainer.is_global_zero:
        draw_range_test(found.rates, found.losses, found.suggested, image)
    return found


def unbiased(losses: np.ndarray) -> np.ndarray:
    """Lightning's smoothed losses with the right weight.

    Its average of t + 1 losses, which starts at zero, is divided by 1 - b^(t + 2) in the place of 1 - b^(t + 1): the
    first loss comes out at about half its value.
    """
    steps = np.arange(len(losses))
    return losses * (1 - _SMOOTHING ** (steps + 2)) / (1 - _SMOOTHING ** (steps + 1))


def steepest(rates: np.ndarray, losses: np.ndarray) -> float | None:
    """The rate at which the loss falls most steeply over the rate's logarithm, None where it never falls."""
    if len(rates) <= _SKIPPED + 2:
        return None
    slopes = np.gradient(losses, np.log(rates))[_SKIPPED:]
    return float(rates[_SKIPPED + slopes.argmin()]) if slopes.min() < 0 else None
