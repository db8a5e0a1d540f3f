"""The checkpoints of a run: the best epoch by validation, the last state, and the one before it."""

import shutil
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only

from cotnet.files.weights import load_checkpoint
from cotnet.training.checkpoint_io import LAST
from cotnet.training.finite_loss import FiniteLoss
from cotnet.training.lightning_private import may_stop, validates_this_epoch
from cotnet.training.limits import Limits, Stopped
from cotnet.training.signals import StopSignals


class BestCheckpoint(ModelCheckpoint):
    """Keeps ``best.ckpt``, the epoch with the highest validation metric; of equal ones the first.

    Args:
        folder: The run folder.
        monitor: The metric.
    """

    def __init__(self, folder: Path, monitor: str) -> None:
        super().__init__(
            folder,
            filename="best",
            monitor=monitor,
            mode="max",
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """After a resume: take over the best epoch so far, from the run's folder or from where the checkpoint says.

        Without a sound file, the best is sought among the epochs from here on. The file may be of a later epoch than
        the checkpoint, so the score is read from it, and nothing else.
        """
        earlier = Path(state_dict["best_model_path"])
        if self.dirpath is None or not state_dict["best_model_path"]:
            return
        path = Path(self.dirpath) / earlier.name
        if path.exists():  # the run's folder may have been moved
            earlier = path
        try:
            score = load_checkpoint(earlier, mapped=True)["callbacks"][self.state_key]["best_model_score"].clone()
        except (ValueError, KeyError) as error:
            print(f"note: the best epoch so far cannot be taken over: {error}", flush=True)
            return
        if not path.exists():
            _copy(earlier, path)
        self.best_model_path = self.kth_best_model_path = str(path)
        self.best_model_score = self.kth_value = score
        self.best_k_models = {str(path): self.best_model_score}


class LastCheckpoint(Checkpoint):
    """Keeps ``last.ckpt``, from which a run resumes: at the end of every epoch, and inside of one.

    Inside an epoch it is written after optimizer steps alone, so that no accumulated gradient is lost.

    Args:
        folder: The run folder.
        every_n_steps: Optimizer steps between two checkpoints, or None.
        every_n_minutes: Minutes between two, or None.
        finite: Looks at the state before it is saved.
        signals: Ask for a checkpoint and the end of the run.
        limits: Say why a run ends before its last epoch.

    Raises:
        SystemExit: After the checkpoint that a signal asked for; the code is 128 and the signal's number.
        Stopped: After the checkpoint inside an epoch that ``trainer.should_stop`` asked for.
    """

    def __init__(
        self,
        folder: Path,
        *,
        every_n_steps: int | None,
        every_n_minutes: float | None,
        finite: FiniteLoss,
        signals: StopSignals,
        limits: Limits,
    ) -> None:
        self.folder = folder
        self.every_n_steps = every_n_steps
        self.every_n_minutes = every_n_minutes
        self.finite = finite
        self.signals = signals
        self.limits = limits

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return self.folder / LAST

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._saved_s = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where it is due."""
        loop = trainer.fit_loop.epoch_loop
        # After the last batch, and where a validation follows, the state is saved later: a resume would skip those.
        if loop.batch_progress.is_last_batch:
            return
        stops = self._stops(trainer)
        validates = trainer.val_check_batch and (batch_idx + 1) % trainer.val_check_batch == 0
        if (validates and validates_this_epoch(trainer)) or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        after_steps = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        after_time = self.every_n_minutes is not None and time.monotonic() - self._saved_s >= 60 * self.every_n_minutes
        # The processes' clocks and signals differ, and all must save together.
        asked = trainer.strategy.reduce_boolean_decision(after_time or self.signals.received is not None, all=False)
        if asked or after_steps or stops:
            self._save(trainer, pl_module)
        if stops:
            raise Stopped(self.limits.status(trainer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save where the run stops after a validation inside an epoch."""
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch and self._stops(trainer):
            self._save(trainer, pl_module)
            raise Stopped(self.limits.status(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the complete epoch."""
        self._save(trainer, pl_module)

    def _stops(self, trainer: Trainer) -> bool:
        """Whether the run ends here, inside an epoch."""
        if trainer.fit_loop.epoch_loop.batch_progress.current.ready % trainer.accumulate_grad_batches:
            trainer.should_stop = False  # the accumulated gradient would be lost; who asked asks again
        return trainer.should_stop and may_stop(trainer)

    def _save(self, trainer: Trainer, module: LightningModule) -> None:
        self.finite.check_state(trainer, module)
        trainer.save_checkpoint(self.path)
        self._saved_s = time.monotonic()
        if trainer.strategy.reduce_boolean_decision(self.signals.received is not None, all=False):
            if trainer.is_global_zero:
                print(
                    f"stopped by a signal; the state after step {trainer.global_step} is in {self.path}, resume with "
                    f"--ckpt_path {self.path}",
                    flush=True,
                )
            raise SystemExit(128 + (self.signals.received or 15))


@rank_zero_only
def _copy(file: Path, to: Path) -> None:
    """Copy a file in the first process alone."""
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)
