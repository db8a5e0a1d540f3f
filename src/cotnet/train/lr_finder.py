"""A learning rate by a range test (Smith 2017), on Lightning's tuner."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.tuner import Tuner

from cotnet.train.module import TrainingModule
from cotnet.train.plots import draw_range_test


@dataclass(frozen=True)
class RangeTest:
    """What a range test has found.

    Attributes:
        rates: learning rates of the steps.
        losses: smoothed loss at each.
        suggested: the rate at which the loss falls most steeply, or None where it does not fall.
        global_batch: pictures of a step, over all processes.
    """

    rates: list[float]
    losses: list[float]
    suggested: float | None
    global_batch: int

    @property
    def base_lr(self) -> float | None:
        """The suggestion as the field ``model.base_lr``, for 256 pictures."""
        return None if self.suggested is None else self.suggested * 256 / self.global_batch


def find_learning_rate(
    model: TrainingModule,
    data: LightningDataModule,
    trainer: Trainer,
    *,
    picture: Path,
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
        picture: The PNG to write.
        steps: At most so many.
        lowest: The first learning rate.
        highest: The last one.

    Raises:
        ValueError: The loss was not finite from the first steps on.
    """
    with tempfile.TemporaryDirectory() as folder:  # the tuner puts the weights there, to restore them
        trainer._default_root_dir = folder  # type: ignore[attr-defined]
        finder = Tuner(trainer).lr_find(
            model, datamodule=data, min_lr=lowest, max_lr=highest, num_training=steps, update_attr=False
        )
    assert finder is not None
    pairs = zip(finder.results["lr"], finder.results["loss"], strict=True)
    finite = [(float(rate), float(loss)) for rate, loss in pairs if np.isfinite(loss)]
    if len(finite) < 3:
        raise ValueError(
            "the loss was not finite at the lowest learning rates already; look at the data and the network"
        )
    rates, losses = map(list, zip(*finite, strict=True))
    found = RangeTest(rates, losses, finder.suggestion(), model.global_batch)
    if trainer.is_global_zero:
        draw_range_test(found.rates, found.losses, found.suggested, picture)
    return found
