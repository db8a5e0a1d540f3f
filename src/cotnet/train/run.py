"""One run from checked parts to a finished folder."""

import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from safetensors import SafetensorError
from safetensors.torch import load_file

from cotnet.models import load_official
from cotnet.models.weights_file import WeightsCard, load_checkpoint, read_checkpoint
from cotnet.train.checkpoints import BestCheckpoint, LastCheckpoint
from cotnet.train.module import TrainingModule
from cotnet.train.progress import Progress, duration
from cotnet.train.record import Record
from cotnet.train.seeds import EpochSeeds


def prepare(model: TrainingModule, data: Any, *, resume: Path | None, epochs: int) -> None:
    """Check that model, data and checkpoint fit together, describe the run, and load the weights to start from.

    Args:
        model: The module to train; receives its card.
        data: A data module that `model` can describe, set up, with ``check_pictures``.
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
    model.card = model.describe(data)
    model.check_data(data)
    if resume is not None:
        _check_resume(model, model.card, resume, epochs)
    elif model.init_from is not None:
        _load_weights(model, Path(model.init_from))
    data.check_pictures()


def fit(
    model: TrainingModule,
    data: LightningDataModule,
    trainer: Trainer,
    *,
    folder: Path,
    seed: int,
    resume: Path | None,
    write_config: Callable[[Path], None],
) -> None:
    """Train, and leave everything in a new folder.

    A run that fails before its first epoch is complete leaves no folder.

    Args:
        model: Checked by `prepare`.
        data: Set up.
        trainer: Without logger and without callbacks of this package.
        folder: To be created.
        seed: The run's seed.
        resume: Checkpoint to go on from, or None.
        write_config: Writes the run's whole configuration to a path.
    """
    started = time.perf_counter()
    leads = trainer.is_global_zero  # of several processes one writes
    made = [path for path in (folder, *folder.parents) if leads and not path.exists()]
    if leads:
        folder.mkdir(parents=True)
        write_config(folder / "config.yaml")
    best = BestCheckpoint(folder, model.monitor)
    record = Record(folder, best)
    trainer.loggers = [TensorBoardLogger(folder, name="", version="tensorboard")]
    # The order counts: a checkpoint holds the row that the record has just added.
    trainer.callbacks += [EpochSeeds(seed), Progress(), record, best, LastCheckpoint(folder)]  # type: ignore[attr-defined]
    try:
        trainer.fit(model, datamodule=data, ckpt_path=resume, weights_only=True)
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise ValueError("out of memory; use a smaller --data.batch_size") from error
        raise
    finally:
        if leads and (folder / "last.ckpt").is_file():
            record.write_weights()
        elif leads:
            _remove(made)
    if not leads:
        return
    if not folder.is_dir():
        raise ValueError(
            "the run ended before its first epoch; see trainer.max_steps, trainer.max_time and "
            "trainer.limit_train_batches"
        )
    score = float(best.best_model_score or 0)
    print(f"\n{model.monitor_label} {score:.1%} (best epoch), {duration(time.perf_counter() - started)}")
    note = getattr(data, "note", None)
    if note:
        print(f"for comparison, {note}")
    print(f"everything is in {folder}; the trained network is {folder / 'weights.safetensors'}")


def next_folder(runs: Path, recipe: str) -> Path:
    """The first free ``runs/<recipe>/<number>``, above every number that is taken.

    Raises:
        ValueError: No folder can be made there.
    """
    home = runs / recipe
    there = next(path for path in (home, *home.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ValueError(f"no run folder can be made in {str(there)!r}; name another place by --runs FOLDER")
    taken = [int(path.name) for path in home.glob("*") if path.name.isdecimal()] if home.is_dir() else []
    return home / str(max(taken, default=0) + 1)


def _check_resume(model: TrainingModule, card: WeightsCard, path: Path, epochs: int) -> None:
    checkpoint = load_checkpoint(path)
    name = f"checkpoint {str(path)!r}"
    if "loops" not in checkpoint or not isinstance(checkpoint.get("run"), dict):
        raise ValueError(
            f"{name} cannot be resumed: `cotnet train` did not write it; start from it by --model.init_from"
        )
    before = WeightsCard.from_plain(checkpoint.get("card"), name=name)
    if (before.task, before.model, before.kwargs) != (card.task, card.model, card.kwargs):
        was, now = (f"{one.model} {one.kwargs or ''}".strip() for one in (before, card))
        raise ValueError(f"{name} is of another model: it holds {was}, this run trains {now}")
    if len(before.class_names) != len(card.class_names):
        raise ValueError(
            f"{name} has {len(before.class_names)} classes, the data {len(card.class_names)}; "
            "to start a new classifier from its weights use --model.init_from with the run's weights.safetensors"
        )
    if before.class_names != card.class_names:
        was, now = next(pair for pair in zip(before.class_names, card.class_names, strict=True) if pair[0] != pair[1])
        raise ValueError(f"{name} is for other classes: where it has {was!r}, the data has {now!r}")
    settings = {"init_from": model.init_from, "ema": model.ema_decay is not None}
    if checkpoint["run"].get("ema") != settings["ema"]:
        kept = "kept" if checkpoint["run"].get("ema") else "kept no"
        raise ValueError(f"{name} {kept} moving average; model.ema_decay cannot be switched on a resume")
    if settings["init_from"] not in (None, checkpoint["run"].get("init_from")):
        raise ValueError("model.init_from has no effect on a resume: leave out either it or --ckpt_path")
    done = int(checkpoint.get("epoch", -1)) + 1
    if done >= epochs:
        raise ValueError(
            f"{name} has already {done} epochs of trainer.max_epochs {epochs}; "
            f"go on with --trainer.max_epochs {done + 1} or more"
        )
    shapes = {key: value.shape for key, value in model.network.state_dict().items()}
    for key, value in checkpoint.get("state_dict", {}).items():
        own = key.removeprefix("network.")
        if key != own and (own not in shapes or shapes[own] != value.shape):
            raise ValueError(f"{name} is of another model: its entry {own} of shape {list(value.shape)} does not fit")


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
