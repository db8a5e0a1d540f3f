"""A recipe's configuration becomes model, data and trainer, and these a run or a learning-rate range test."""

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cotnet.training.config import read_config
from cotnet.training.distributed import name_strategies, rank_zero_print
from cotnet.training.fit import Plan, fit
from cotnet.training.lr_finder import find_learning_rate
from cotnet.training.module import TrainingModule
from cotnet.training.prepare import prepare
from cotnet.training.protocol import TrainingData
from cotnet.training.resume import find_start
from cotnet.training.run import RunResult

_NOISY = ("lightning", "torch", "torchmetrics", "timm", "jsonargparse", "PIL", "matplotlib")


def assemble_and_run(name: str, recipe: Sequence[dict[str, Any]], words: Sequence[str], *, command: str) -> RunResult:
    """Train as a recipe and the words over it say.

    Args:
        name: The recipe's name, for the run's folder.
        recipe: Its fields, see `cotnet.training.recipe.read_recipe`.
        words: Of the command line after it.
        command: The whole command, for the report.

    Raises:
        ValueError: Something is wrong with them, the data or the checkpoint.
    """
    with _quiet():
        name_strategies()
        config = read_config(recipe, words)
        values = config.values
        epochs = values.trainer.max_epochs
        if epochs is None:
            raise ValueError("the recipe does not say how long to train; pass --trainer.max_epochs")
        seed_everything(values.seed_everything, workers=True, verbose=False)
        model, data, trainer = config.build()
        if values.find_lr is not None:
            _check_find_lr(values.ckpt_path, trainer)
        folder, resume = find_start(values.ckpt_path, Path(values.runs), name, epochs=epochs)
        prepare(model, data, trainer, seed=values.seed_everything, resume=resume, epochs=epochs)
        plan = Plan(
            folder,
            values.seed_everything,
            config=f"# cotnet train config.yaml\n{config.to_yaml()}",
            command=command,
            resume=resume,
            every_n_steps=values.save_every_n_steps,
            every_n_minutes=values.save_every_n_minutes,
        )
        try:
            if values.find_lr is not None:
                return _find_lr(model, data, trainer, Path(values.find_lr))
            rank_zero_print(
                f"training {model.name} ({sum(p.numel() for p in model.network.parameters()) / 1e6:.2f} M parameters) "
                f"on {len(data.train_set)} images of {data.num_classes} classes, validating on {len(data.val_set)}"
            )
            return fit(model, data, trainer, plan)
        except (ValueError, MisconfigurationException) as error:
            raise ValueError(_from_worker(error)) from error


def _check_find_lr(ckpt_path: str | None, trainer: Trainer) -> None:
    if ckpt_path is not None:
        raise ValueError(
            "--find_lr does not resume from a checkpoint: leave out --ckpt_path, and to start from a run's weights use "
            "--model.init_from"
        )
    if isinstance(trainer.strategy, ModelParallelStrategy):
        raise ValueError(
            "--find_lr cannot put sharded weights back: use --trainer.strategy ddp in the place of fsdp2; the rate is "
            "the same for as many images a step"
        )


def _find_lr(model: TrainingModule, data: TrainingData, trainer: Trainer, image: Path) -> RunResult:
    found = find_learning_rate(model, data, trainer, image=image)
    advice = "the loss does not fall; check the data and the network"
    if found.base_lr is not None:
        advice = (
            f"steepest at a learning rate of {found.suggested:.3g}: --model.base_lr {found.base_lr:.3g} "
            f"for {found.global_batch} images a step"
        )
    rank_zero_print(f"{advice}\nthe loss over the rates is in {image}")
    return RunResult(folder=None, score=None, weights=None, status=advice, range_test=found)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' own remarks from the terminal while a run lasts."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", *_NOISY)]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=rf"({'|'.join(_NOISY)})\b.*")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _from_worker(error: Exception) -> str:
    """The message itself, out of the traceback that a loader process sends along."""
    found = re.findall(r"^[\w.]*Error: (.+)$", str(error), flags=re.MULTILINE)
    return found[-1] if found and str(error).startswith("Caught ") else str(error)
