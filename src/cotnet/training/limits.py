"""What ends a run before its last epoch: ``trainer.max_steps``, ``trainer.max_time``, and callbacks that ask for it."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

from cotnet.training.progress import duration
from cotnet.training.resume import Resume


class Stopped(Exception):  # noqa: N818 (it is no error)
    """A limit has ended the run inside an epoch, and its state is saved; the message is the run's status."""


class Limits(Callback):
    """Ends the run after ``trainer.max_steps`` by ``trainer.should_stop``, as Lightning's timer ends it by time.

    Lightning's count of steps is switched off: with it, a resume cannot tell a complete epoch from an interrupted one.

    Args:
        trainer: Hands its number of steps over.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.steps = trainer.max_steps
        trainer.fit_loop.epoch_loop.max_steps = -1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ask for the end."""
        if self._steps_are_done(trainer):
            trainer.should_stop = True
            # The upper limit takes precedence over the lower ones.
            trainer.fit_loop.min_epochs = trainer.fit_loop.epoch_loop.min_steps = None

    def status(self, trainer: Trainer) -> str:
        """How a run ended that was not interrupted, as a sentence; inside an epoch or between two."""
        epochs, progress = trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_progress
        if epochs == trainer.max_epochs:
            return f"Complete: {epochs} epochs."
        place = f"the end of epoch {epochs}" if progress.is_last_batch else f"epoch {epochs + 1}"
        return f"Stopped at {place}, step {trainer.global_step}, by {self._reached(trainer)}."

    def _steps_are_done(self, trainer: Trainer) -> bool:
        return 0 <= self.steps <= trainer.global_step

    def _reached(self, trainer: Trainer) -> str:
        if self._steps_are_done(trainer):
            return f"trainer.max_steps {self.steps}"
        return "trainer.max_time" if any(_left_s(timer) <= 0 for timer in _timers(trainer)) else "a callback"


def check_limits(trainer: Trainer, resume: Resume | None) -> None:
    """Refuse a limit that leaves nothing to do.

    Raises:
        ValueError: The message names it.
    """
    steps = trainer.max_steps
    if steps == 0:
        raise ValueError("trainer.max_steps must be at least 1, got 0; leave it out for no limit")
    if resume is None:
        return
    if 0 < steps <= resume.steps:
        raise ValueError(
            f"{resume.name} has already {resume.steps} steps of trainer.max_steps {steps}; "
            f"continue with --trainer.max_steps {resume.steps + 1} or more"
        )
    for timer in _timers(trainer):
        done_s = resume.trained_s(timer.state_key)
        if done_s >= _left_s(timer):
            raise ValueError(
                f"{resume.name} has already trained {duration(done_s)} of trainer.max_time "
                f"{duration(_left_s(timer))}, which counts over all starts of a run; continue with a longer one"
            )


def _timers(trainer: Trainer) -> list[Timer]:
    return [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]


def _left_s(timer: Timer) -> float:
    left_s = timer.time_remaining()
    return float("inf") if left_s is None else left_s
