"""Which checkpoint a run resumes from, and whether what is configured now fits it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from cotnet.files.weights import WeightsCard, load_checkpoint
from cotnet.training.checkpoint_io import LAST, PREVIOUS
from cotnet.training.module import TrainingModule
from cotnet.training.protocol import TrainingData

# Of a checkpoint, what `Resume` keeps.
_PLAIN = ("position", "epoch", "global_step", "run", "card", "callbacks", "loops")
# The fields that an epoch's order depends on by their keys in a checkpoint, where these are others.
_FIELDS = {
    "seed": "seed_everything",
    "batch_size": "data.batch_size",
    "processes": "the number of processes",
    "accumulate": "trainer.accumulate_grad_batches",
    "limit": "trainer.limit_train_batches",
    "overfit": "trainer.overfit_batches",
    "images": "the number of training images",
}


@dataclass(frozen=True)
class Resume:
    """A checkpoint to resume from: what must be known of it before training, without its tensors.

    Attributes:
        path: The file.
        plain: Its plain values: ``position``, ``run``, ``card`` and others; of the callbacks, the state of each.
        shapes: The shape of every entry of its state dict.
    """

    path: Path
    plain: dict[str, Any]
    shapes: dict[str, torch.Size]

    @classmethod
    def read(cls, path: Path) -> "Resume":
        """Read a checkpoint's plain values; the trainer reads its tensors later.

        Raises:
            ValueError: It is missing, damaged or hostile.
        """
        content = load_checkpoint(path, mapped=True)
        entries = content.get("state_dict")
        tensors = entries.items() if isinstance(entries, dict) else ()
        shapes = {name: value.shape for name, value in tensors if isinstance(value, torch.Tensor)}
        return cls(path, {key: _without_tensors(content[key]) for key in _PLAIN if key in content}, shapes)

    @property
    def position(self) -> tuple[int, int]:
        """Complete epochs, and complete batches of the next one."""
        position = self.plain.get("position")
        if isinstance(position, dict):
            return position["epoch"], position["batch"]
        return int(self.plain.get("epoch", -1)) + 1, 0

    @property
    def steps(self) -> int:
        """Complete optimizer steps."""
        return int(self.plain.get("global_step", 0))

    def trained_s(self, timer: str) -> float:
        """Seconds of training so far by a timer's count, which is known by its key."""
        state = self.plain.get("callbacks", {}).get(timer, {})
        return float(state.get("time_elapsed", {}).get("train", 0.0))

    @property
    def name(self) -> str:
        """What to call it in an error message."""
        return f"checkpoint {str(self.path)!r}"


def open_resume(path: Path) -> Resume:
    """Read a checkpoint; where a ``last.ckpt`` is missing or damaged, the one before it, with a notice.

    Raises:
        ValueError: Neither can be read.
    """
    try:
        return Resume.read(path)
    except ValueError as error:
        before = path.with_name(PREVIOUS)
        if path.name != LAST or not before.is_file():
            raise
        try:
            found = Resume.read(before)
        except ValueError as second:
            raise ValueError(f"{error}; {second}") from second
        print(f"note: {error}; resuming from the one before it, {before}", flush=True)
        return found


def find_start(ckpt_path: str | None, runs: Path, recipe: str, *, epochs: int) -> tuple[Path, Resume | None]:
    """The folder of a run, and what it resumes from.

    Args:
        ckpt_path: A checkpoint, from which the run resumes in a new folder; or ``last``: the recipe's newest run with a
            checkpoint resumes in its own folder if it has epochs left, and otherwise a new run begins.
        runs: Folder of the run folders.
        recipe: Its name.
        epochs: Epoch to train to.

    Raises:
        ValueError: The checkpoint is missing or damaged, and so is the one before it.
    """
    home = runs / recipe
    if ckpt_path is None:
        return next_folder(runs, recipe), None
    if ckpt_path != "last":
        return next_folder(runs, recipe), open_resume(Path(ckpt_path))
    newest = _newest_run(home)
    if newest is None:
        return next_folder(runs, recipe), None
    resume = open_resume(newest / LAST)
    if resume.position[0] >= epochs:
        print(f"note: {newest} is complete; a new run begins", flush=True)
        return next_folder(runs, recipe), None
    return newest, resume


def _newest_run(home: Path) -> Path | None:
    """The folder with the highest number in a recipe's folder that holds a checkpoint."""
    runs = [path for path in home.glob("*") if path.name.isdecimal()] if home.is_dir() else []
    held = [run for run in runs if any((run / name).is_file() for name in (LAST, PREVIOUS))]
    return max(held, key=lambda run: int(run.name), default=None)


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


class Position(Callback):
    """Writes into every checkpoint its place in the order of the images, and what that order depends on.

    Args:
        order: See `order_of`.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the number of complete epochs, and of the batches after them."""
        progress = trainer.fit_loop.epoch_loop.batch_progress
        complete = progress.is_last_batch
        checkpoint["position"] = {
            "epoch": trainer.current_epoch + complete,
            "batch": 0 if complete else progress.current.ready,
            "order": self.order,
        }


def order_of(data: TrainingData, trainer: Trainer, seed: int) -> dict[str, Any]:
    """What the batches of an epoch depend on, in plain values."""
    return {
        "data": type(data).__name__,
        **{f"data.{name}": value for name, value in data.order_fields.items()},
        "seed": seed,
        "batch_size": data.batch_size,
        "processes": trainer.world_size,
        "accumulate": trainer.accumulate_grad_batches,
        "limit": trainer.limit_train_batches,
        "overfit": data.overfit,
        "images": len(data.train_set),
    }


def check_resume(resume: Resume, model: TrainingModule, card: WeightsCard, *, epochs: int) -> None:
    """Refuse a change that cannot take effect; any other change does, unless `check_order` refuses it.

    Args:
        resume: The checkpoint.
        model: To be trained.
        card: Describes it and its data.
        epochs: Epoch to train to.

    Raises:
        ValueError: A field cannot change on this resume; the message names it.
    """
    content, name = resume.plain, resume.name
    if "loops" not in content or not isinstance(content.get("run"), dict):
        raise ValueError(
            f"{name} cannot be resumed: `cotnet train` did not write it; start from it by --model.init_from"
        )
    before = WeightsCard.from_plain(content.get("card"), name=name)
    _check_network(before, card, name)
    ema = model.ema_decay is not None
    if content["run"].get("ema") != ema:
        kept = "kept" if content["run"].get("ema") else "kept no"
        raise ValueError(f"{name} {kept} moving average; model.ema_decay cannot be switched on a resume")
    for field, now in model.optimizer_fields.items():
        was = content["run"].get("optimizer", {}).get(field, now)
        if was != now and not (isinstance(was, float) and isinstance(now, float)):  # those make the same groups
            raise ValueError(
                f"model.{field} cannot change from {was} to {now} on a resume, since the optimizer's state in {name} "
                "would not fit; start a new run from the weights.safetensors of this one by --model.init_from"
            )
    if model.init_from not in (None, content["run"].get("init_from")):
        raise ValueError("model.init_from has no effect on a resume: leave out either it or --ckpt_path")
    done, _ = resume.position
    if done >= epochs:
        raise ValueError(
            f"{name} has already {done} epochs of trainer.max_epochs {epochs}; "
            f"continue with --trainer.max_epochs {done + 1} or more"
        )
    shapes = {key: value.shape for key, value in model.network.state_dict().items()}
    for key, shape in resume.shapes.items():
        entry = key.removeprefix("network.")
        if key != entry and shapes.get(entry) != shape:
            raise ValueError(f"{name} is of another model: its entry {entry} of shape {list(shape)} does not fit")


def check_order(resume: Resume, order: dict[str, Any]) -> None:
    """Inside an epoch, refuse what would change the order of its images.

    Args:
        resume: The checkpoint.
        order: See `order_of`.

    Raises:
        ValueError: A field cannot change here; the message names it.
    """
    epoch, batch = resume.position
    if batch == 0:
        return
    before = resume.plain["position"]["order"]
    for key, now in order.items():
        if key in before and before[key] != now:
            raise ValueError(
                f"{resume.name} is of the middle of an epoch, after batch {batch} of epoch {epoch + 1}; there "
                f"{_FIELDS.get(key, key)} cannot change from {before[key]} to {now}: keep it until the epoch is "
                "complete, or resume from best.ckpt, which is of the end of an epoch"
            )


def _check_network(before: WeightsCard, card: WeightsCard, name: str) -> None:
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


def _without_tensors(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_tensors(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_tensors(one) for one in value]
    return None if isinstance(value, torch.Tensor) else value
