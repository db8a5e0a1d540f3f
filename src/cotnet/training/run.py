"""One run from checked parts to a finished folder."""

import shutil
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from safetensors import SafetensorError
from safetensors.torch import load_file

from cotnet.files.weights import read_checkpoint
from cotnet.models import load_official
from cotnet.training.checkpoint_io import LAST, PREVIOUS, AtomicCheckpointIO
from cotnet.training.checkpoints import BestCheckpoint, LastCheckpoint
from cotnet.training.config_file import ConfigFile
from cotnet.training.distributed import OneFolder
from cotnet.training.guards import FAILED_BATCH, FiniteLoss, StopSignals
from cotnet.training.limits import Limits, Stopped, check_limits
from cotnet.training.metrics import Record
from cotnet.training.module import TrainingModule
from cotnet.training.progress import Progress, duration
from cotnet.training.report import session, write_report
from cotnet.training.resume import Position, Resume, check_order, check_resume, order_of
from cotnet.training.seeding import StepSeeds
from cotnet.training.throughput import EpochMeter, LoaderClock


def prepare(
    model: TrainingModule, data: Any, trainer: Trainer, *, seed: int, resume: Resume | None, epochs: int
) -> None:
    """Check that model, data and checkpoint fit together, describe the run, and load the weights to start from.

    Args:
        model: The module to train; receives its card.
        data: A data module that `model` can describe, with ``check_images``; receives trainer, seed and position.
        trainer: Says how many processes there are.
        seed: The run's seed.
        resume: Checkpoint to go on from, or None.
        epochs: Epoch to train to.

    Raises:
        ValueError: Something does not fit.
    """
    if epochs < 1:
        raise ValueError(f"trainer.max_epochs must be at least 1, got {epochs}")
    if model.warmup_epochs >= epochs:
        raise ValueError(
            f"model.warmup_epochs {model.warmup_epochs:g} must be less than trainer.max_epochs {epochs}; "
            "pass --model.warmup_epochs 0 for a very short run"
        )
    if type(trainer.strategy.checkpoint_io) not in (TorchCheckpointIO, AtomicCheckpointIO):
        raise ValueError("trainer.plugins cannot hold a CheckpointIO: a run brings its own")
    check_limits(trainer, resume)
    data.trainer = trainer  # so that it knows the number of processes
    data.setup("fit")
    if getattr(trainer, "overfit_batches", 0) and hasattr(data, "overfit"):
        # Lightning has limited the batches by now; it would fill them with the first images, often of one class.
        data.overfit, trainer.overfit_batches = True, 0.0  # type: ignore[attr-defined]
    model.card = model.describe(data)
    model.check_data(data)
    data.seed = seed
    if resume is not None:
        check_resume(resume, model, model.card, epochs=epochs)
        if resume.position[1] and not hasattr(data, "position"):
            print(
                f"note: {type(data).__name__} begins the epoch's order anew after a resume inside an epoch", flush=True
            )
        data.position = resume.position
    elif model.init_from is not None:
        _load_weights(model, Path(model.init_from))
    data.check_images()
    if resume is not None:  # now that those which cannot be used are left out
        check_order(resume, order_of(data, trainer, seed))


def fit(
    model: TrainingModule,
    data: LightningDataModule,
    trainer: Trainer,
    *,
    folder: Path,
    seed: int,
    resume: Resume | None,
    write_config: Callable[[Path], None],
    command: str,
    every_n_steps: int | None = None,
    every_n_minutes: float | None = None,
) -> None:
    """Train, and leave everything in a folder.

    A run that fails before its first checkpoint leaves no folder, or the one that was there as it was.

    Args:
        model: Checked by `prepare`.
        data: Set up.
        trainer: Without callbacks of this package.
        folder: To be created, or that of the run that is gone on with.
        seed: The run's seed.
        resume: Checkpoint to go on from, or None.
        write_config: Writes the run's whole configuration to a path.
        command: What started the run, as a shell takes it.
        every_n_steps: Optimizer steps between checkpoints inside an epoch, or None.
        every_n_minutes: Minutes between checkpoints inside an epoch, or None.

    Raises:
        ValueError: The run cannot go on; the message says why.
        OSError: A file cannot be written.
        SystemExit: A signal stopped the run, and its state is saved.
    """
    started = time.perf_counter()
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    config = ConfigFile(folder)
    if trainer.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        config.write(write_config, resume)
    clock = LoaderClock(trainer.profiler)  # type: ignore[attr-defined]
    meter = EpochMeter(clock)
    guard, signals, limits = FiniteLoss(folder), StopSignals(), Limits(trainer)
    best = BestCheckpoint(folder, model.monitor)
    record = Record(folder, best, meter)
    record.sessions.append(session(resume, config.changed))
    last = LastCheckpoint(
        folder,
        every_n_steps=every_n_steps,
        every_n_minutes=every_n_minutes,
        guard=guard,
        signals=signals,
        limits=limits,
    )
    trainer.profiler = clock  # type: ignore[attr-defined]
    trainer.strategy.checkpoint_io = AtomicCheckpointIO()
    trainer.loggers = [*trainer.loggers, TensorBoardLogger(folder, name="", version="tensorboard")]
    position = Position(order_of(data, trainer, seed))
    # The order counts: a checkpoint holds the row that the record has just added.
    callbacks = [OneFolder(guard, record, last), config, StepSeeds(seed), signals, limits, guard, meter]
    trainer.callbacks += [*callbacks, Progress(meter), record, position, best, last]  # type: ignore[attr-defined]
    status, ended = "The run was broken off.", False
    try:
        trainer.fit(model, datamodule=data, ckpt_path=None if resume is None else resume.path, weights_only=True)
        status, ended = limits.status(trainer), True
    except Stopped as stop:
        status, ended = str(stop), True
    except torch.OutOfMemoryError as error:
        raise ValueError("out of memory; use a smaller --data.batch_size") from error
    except BaseException as error:
        status = f"Broken off: {' '.join(str(error).split()) or type(error).__name__}."
        if isinstance(error, SystemExit):
            status = f"Stopped by a signal (exit status {error.code})."
        raise
    finally:
        if trainer.is_global_zero:
            begun, saved = config.begun, any((folder / name).is_file() for name in (LAST, PREVIOUS))
            config.withdraw()
            if begun and saved:
                # After an error, what cannot be written must not hide what happened.
                with nullcontext() if ended else suppress(OSError, ValueError):
                    try:
                        record.write_weights()
                    finally:
                        _report(folder, model, data, trainer, record, status=status, command=command)
            elif not saved and not any(folder.glob(f"*{FAILED_BATCH}")) and made:
                _remove(made)
    if not trainer.is_global_zero:
        return
    if not begun:
        raise ValueError("the run ended before its first epoch; see trainer.max_time and trainer.limit_train_batches")
    if best.best_model_path:
        score = float(best.best_model_score or 0)
        print(f"\n{model.monitor_label} {score:.1%} (best epoch), {duration(time.perf_counter() - started)}")
        note = getattr(data, "note", None)
        if note:
            print(f"for comparison, {note}")
    if trainer.current_epoch != trainer.max_epochs:
        print(f"{status} Go on with --ckpt_path {last.path} and another limit")
    weights = folder / "weights.safetensors"
    trained = f"; the trained network is {weights}" if weights.is_file() else ""
    print(f"everything is in {folder}, on one page in report.md{trained}")


def _report(
    folder: Path, model: TrainingModule, data: Any, trainer: Trainer, record: Record, *, status: str, command: str
) -> None:
    assert model.card is not None
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    facts = {
        "parameters": f"{parameters:,}",
        "images": f"{len(data.train_set):,} for training, {len(data.val_set):,} for validation",
        "batch": f"{data.batch_size} x {trainer.world_size} processes x {trainer.accumulate_grad_batches} accumulated",
        "precision": str(trainer.precision),
    }
    skipped = getattr(data, "skipped", None)
    write_report(
        folder,
        title=f"{model.card.model}, run {'/'.join(folder.absolute().parts[-2:])}",
        status=status,
        command=command,
        model=model,
        facts=facts,
        history=record.history,
        confusion=record.confusion,
        sessions=record.sessions,
        unreadable=skipped() if skipped else [],
    )


def _load_weights(model: TrainingModule, path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"model.init_from {str(path)!r} is not a file")
    try:
        if path.suffix == ".safetensors":  # a run's own, or of any other origin: a description is not needed
            entries = load_file(path)
        else:
            entries = read_checkpoint(path)[0] if path.suffix == ".ckpt" else load_official(path)
    except SafetensorError as error:
        raise ValueError(f"model.init_from {str(path)!r} is damaged or no safetensors file: {error}") from error
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            model.load_entries(entries)
        except ValueError as error:
            raise ValueError(f"model.init_from {str(path)!r} does not fit {model.name}: {error}") from error
    for warning in caught:
        print(f"note: {warning.message}")


def _remove(made: list[Path]) -> None:
    """Remove a run folder without a complete epoch, and those around it that were made for it and are empty."""
    shutil.rmtree(made[0], ignore_errors=True)
    for parent in made[1:]:
        if any(parent.iterdir()):
            return
        parent.rmdir()
