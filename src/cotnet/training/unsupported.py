"""What Lightning offers and a run cannot take, each with the field that serves in its place."""

from collections.abc import Iterable

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    BatchSizeFinder,
    GradientAccumulationScheduler,
    LearningRateFinder,
    StochasticWeightAveraging,
)

# They would change the optimizer, the length of the run or the weights behind the checkpoints' back.
_INSTEAD: dict[type[Callback], str] = {
    BaseFinetuning: "freeze parts by --model.freeze and --model.layer_decay",
    StochasticWeightAveraging: "average the weights by --model.ema_decay",
    LearningRateFinder: "look for a rate by cotnet train RECIPE --find_lr FILE.png",
    BatchSizeFinder: "set --data.batch_size",
    GradientAccumulationScheduler: "set --trainer.accumulate_grad_batches",
}


def check_callbacks(callbacks: Iterable[Callback]) -> None:
    """Refuse callbacks that do not go with a run's checkpoints and optimizer.

    Raises:
        ValueError: There is one; the message names what to use instead.
    """
    for callback in callbacks:
        for kind, instead in _INSTEAD.items():
            if isinstance(callback, kind):
                raise ValueError(f"trainer.callbacks cannot contain {type(callback).__name__}: {instead}")
