"""One run from checked parts to a complete folder."""

import shutil
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from cotnet.training.checkpoint_io import LAST, PREVIOUS, AtomicCheckpointIO
from cotnet.training.checkpoints import BestCheckpoint, LastCheckpoint
from cotnet.training.config_file import ConfigFile
from cotnet.training.distributed import OneFolder
from cotnet.training.finite_loss import FAILED_BATCH, FiniteLoss
from cotnet.training.limits import Limits, Stopped
from cotnet.training.metrics import Record
from cotnet.training.module import TrainingModule
from cotnet.training.progress import Progress, duration
from cotnet.training.protocol import TrainingData
from cotnet.training.report import session, write_report
from cotnet.training.resume import Position, Resume, order_of
from cotnet.training.run import RunResult
from cotnet.training.seeding import StepSeeds
from cotnet.training.signals import StopSignals
from cotnet.training.throughput import EpochMeter, LoaderClock


@dataclass(frozen=True)
class Plan:
    """What a run is, beside its model, data and trainer.

    Attributes:
        folder: The run folder: to be created, or that of the run that is resumed.
        seed: The run's seed.
        config: The whole configuration, as YAML.
        command: What started the run, as typed.
        resume: Checkpoint to resume from, or None.
        every_n_steps: Optimizer steps between checkpoints inside an epoch, or None.
        every_n_minutes: Minutes between checkpoints inside an epoch, or None.
    """

    folder: Path
    seed: int
    config: str
    command: str
    resume: Resume | None = None
    every_n_steps: int | None = None
    every_n_minutes: float | None = None


def fit(model: TrainingModule, data: TrainingData, trainer: Trainer, plan: Plan) -> RunResult:
    """Train, and leave everything in a folder.

    A run that fails before its first checkpoint leaves no folder, or the one that was there as it was.

    Args:
        model: Checked by `cotnet.training.prepare.prepare`.
        data: Set up.
        trainer: Without callbacks of this package.
        plan: Says the rest.

    Raises:
        ValueError: The run cannot continue; the message says why.
        OSError: A file cannot be written.
        SystemExit: A signal stopped the run, and its state is saved.
    """
    started = time.perf_counter()
    folder = _Folder(plan.folder)
    parts = _Parts(model, data, trainer, plan)
    if trainer.is_global_zero:
        folder.make()
        parts.config.write(plan.config, plan.resume)
        parts.record.sessions.append(session(plan.resume, parts.config.changed))
    parts.install(trainer, plan.folder)
    status, failed = "", True
    try:
        status = _train(model, data, trainer, plan.resume, parts.limits)
        failed = False
    except BaseException as error:
        status = _failure(error)
        raise
    finally:
        if trainer.is_global_zero:
            begun = parts.config.begun
            parts.config.withdraw()
            if begun and folder.has_checkpoint:
                # After an error, what cannot be written must not hide what happened.
                with suppress(OSError, ValueError) if failed else nullcontext():
                    try:
                        parts.record.write_weights()
                    finally:
                        _report(model, data, trainer, plan, parts.record, status)
            elif not folder.has_checkpoint and not folder.has_failed_batch:
                folder.remove()
    if trainer.is_global_zero and not begun:
        raise ValueError("the run ended before its first epoch; see trainer.max_time and trainer.limit_train_batches")
    result = parts.result(folder.path, status)
    if trainer.is_global_zero:
        _print_result(result, model, data, trainer, seconds=time.perf_counter() - started)
    return result


class _Folder:
    """A run folder, with those around it that have to be made for it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._missing = [one for one in (path, *path.parents) if not one.exists()]

    def make(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)

    @property
    def has_checkpoint(self) -> bool:
        return any((self.path / name).is_file() for name in (LAST, PREVIOUS))

    @property
    def has_failed_batch(self) -> bool:
        return any(self.path.glob(f"*{FAILED_BATCH}"))

    def remove(self) -> None:
        """Remove it if it was made for this run, and those around it that were, too, and are empty."""
        if not self._missing:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        for parent in self._missing[1:]:
            if any(parent.iterdir()):
                return
            parent.rmdir()


class _Parts:
    """The callbacks of a run that depend on one another."""

    def __init__(self, model: TrainingModule, data: TrainingData, trainer: Trainer, plan: Plan) -> None:
        self.clock = LoaderClock(trainer.profiler)  # type: ignore[attr-defined]
        self.config = ConfigFile(plan.folder)
        self.limits = Limits(trainer)
        self.best = BestCheckpoint(plan.folder, model.monitor)
        meter = EpochMeter(self.clock)
        self.record = Record(plan.folder, self.best, meter)
        finite, signals = FiniteLoss(plan.folder), StopSignals()
        last = LastCheckpoint(
            plan.folder,
            every_n_steps=plan.every_n_steps,
            every_n_minutes=plan.every_n_minutes,
            finite=finite,
            signals=signals,
            limits=self.limits,
        )
        # The order counts: a checkpoint holds the row that the record has just added.
        self.callbacks: list[Callback] = [
            OneFolder(finite, self.record, last),
            self.config,
            StepSeeds(plan.seed),
            signals,
            self.limits,
            finite,
            meter,
            Progress(meter),
            self.record,
            Position(order_of(data, trainer, plan.seed)),
            self.best,
            last,
        ]

    def install(self, trainer: Trainer, folder: Path) -> None:
        """Hand everything to the trainer."""
        trainer.profiler = self.clock  # type: ignore[attr-defined]
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        trainer.loggers = [*trainer.loggers, TensorBoardLogger(folder, name="", version="tensorboard")]
        trainer.callbacks += self.callbacks  # type: ignore[attr-defined]

    def result(self, folder: Path, status: str) -> RunResult:
        """What the run came to."""
        weights = folder / "weights.safetensors"
        score = self.best.best_model_score if self.best.best_model_path else None
        return RunResult(
            folder=folder,
            score=None if score is None else float(score),
            weights=weights if weights.is_file() else None,
            status=status,
        )


def _train(model: TrainingModule, data: TrainingData, trainer: Trainer, resume: Resume | None, limits: Limits) -> str:
    """Train, and say how it ended."""
    path = None if resume is None else resume.path
    try:
        trainer.fit(model, datamodule=data, ckpt_path=path, weights_only=True)  # type: ignore[arg-type]
    except Stopped as stop:
        return str(stop)
    except torch.OutOfMemoryError as error:
        raise ValueError("out of memory; use a smaller --data.batch_size") from error
    return limits.status(trainer)


def _failure(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"Stopped by a signal (exit status {error.code})."
    return f"Ended by an error: {' '.join(str(error).split()) or type(error).__name__}."


def _report(
    model: TrainingModule, data: TrainingData, trainer: Trainer, plan: Plan, record: Record, status: str
) -> None:
    assert model.card is not None
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    facts = {
        "parameters": f"{parameters:,}",
        "images": f"{len(data.train_set):,} for training, {len(data.val_set):,} for validation",
        "batch": f"{data.batch_size} x {trainer.world_size} processes x {trainer.accumulate_grad_batches} accumulated",
        "precision": str(trainer.precision),
    }
    write_report(
        plan.folder,
        title=f"{model.card.model}, run {'/'.join(plan.folder.absolute().parts[-2:])}",
        status=status,
        command=plan.command,
        model=model,
        facts=facts,
        history=record.history,
        counts=record.counts,
        sessions=record.sessions,
        unreadable=data.skipped(),
    )


def _print_result(
    result: RunResult, model: TrainingModule, data: TrainingData, trainer: Trainer, *, seconds: float
) -> None:
    if result.score is not None:
        print(f"\n{model.monitor_label} {result.score:.1%} (best epoch), {duration(seconds)}")
        if data.note:
            print(f"for comparison, {data.note}")
    if trainer.current_epoch != trainer.max_epochs:
        assert result.folder is not None
        print(f"{result.status} Continue with --ckpt_path {result.folder / LAST} and another limit")
    trained = "" if result.weights is None else f"; the trained network is {result.weights}"
    print(f"everything is in {result.folder}, on one page in report.md{trained}")
