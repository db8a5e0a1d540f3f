"""The fields of `cotnet train` on Lightning's command line, and their errors as one sentence."""

import logging
import re
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, Namespace
from jsonargparse.typing import PositiveFloat, PositiveInt
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import cotnet.data as data_modules
from cotnet.classification import Classifier
from cotnet.cli.fields import named_classes
from cotnet.cli.parser_errors import sentence
from cotnet.cli.recipes import read_recipe
from cotnet.training import TrainingModule, find_start, fit, prepare
from cotnet.training.distributed import name_strategies, rank_zero_print
from cotnet.training.lr_finder import find_learning_rate

# A run brings its own logger, checkpoints and progress; see cotnet.training.run.
_OWN: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}
_FIELDS: dict[str, list[type]] = {
    "model": [Classifier],
    "data": [getattr(data_modules, name) for name in data_modules.__all__ if name != "ImageDataModule"],
    "trainer": [Trainer],
}


class TrainCLI(LightningCLI):
    """Parses and builds; nothing is written."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Where to write, what to resume, and the number of classes from the data."""
        parser.add_argument("--runs", type=str, default="runs", help="Folder of the run folders.")
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            default=None,
            help="Checkpoint to resume from, or last.",
        )
        parser.add_argument(
            "--save_every_n_steps", type=PositiveInt | None, default=None, help="Steps between checkpoints in an epoch."
        )
        parser.add_argument(
            "--save_every_n_minutes", type=PositiveFloat | None, default=15.0, help="Minutes between them."
        )
        parser.add_argument("--find_lr", type=str | None, default=None, help="PNG of a learning-rate range test.")
        target = "model.init_args.num_classes" if self.subclass_mode_model else "model.num_classes"
        parser.link_arguments("data", target, compute_fn=_num_classes, apply_on="instantiate")


def train(name: str, recipe: list[dict[str, Any]], fields: list[str], *, command: str) -> None:
    """Train as a recipe and the fields that override it say.

    Args:
        name: The recipe's name, for the run's folder.
        recipe: Its fields, see `cotnet.cli.recipes.read_recipe`.
        fields: The words of the command line after it.
        command: The whole command, for the report.

    Raises:
        ValueError: Something is wrong with them, the data or the checkpoint.
    """
    _silence()
    name_strategies()
    cli = _parse([*_words(recipe), *_with_bases(fields)], names_model=named_classes(fields, recipe)[0] is not None)
    model, data, trainer = cli.model, cli.datamodule, cli.trainer
    epochs = cli.config.trainer.max_epochs
    if epochs is None:
        raise ValueError("the recipe does not say how long to train; pass --trainer.max_epochs")
    _check_validation(trainer, epochs)
    if cli.config.find_lr is not None:
        _check_find_lr(cli.config, trainer)
    seed = _seed(cli.config)
    folder, resume = find_start(cli.config.ckpt_path, Path(cli.config.runs), name, epochs=epochs)
    prepare(model, data, trainer, seed=seed, resume=resume, epochs=epochs)

    def write_config(path: Path) -> None:
        text = cli.parser.dump(cli.config, skip_none=False, skip_link_targets=True, format="yaml")
        path.write_text(f"# cotnet train {path.name}\n{text}")

    try:
        if cli.config.find_lr is not None:
            _find_lr(model, data, trainer, Path(cli.config.find_lr))
            return
        rank_zero_print(
            f"training {model.name} ({sum(p.numel() for p in model.network.parameters()) / 1e6:.2f} M parameters) on "
            f"{len(data.train_set)} images of {data.num_classes} classes, validating on {len(data.val_set)}"
        )
        fit(
            model,
            data,
            trainer,
            folder=folder,
            seed=seed,
            resume=resume,
            write_config=write_config,
            command=command,
            every_n_steps=cli.config.save_every_n_steps,
            every_n_minutes=cli.config.save_every_n_minutes,
        )
    except (ValueError, MisconfigurationException) as error:
        raise ValueError(_from_worker(error)) from error


def _check_find_lr(config: Namespace, trainer: Trainer) -> None:
    if config.ckpt_path is not None:
        raise ValueError(
            "--find_lr does not go on from a checkpoint: leave out --ckpt_path, and to start from a run's weights use "
            "--model.init_from"
        )
    if isinstance(trainer.strategy, ModelParallelStrategy):
        raise ValueError(
            "--find_lr cannot put sharded weights back: use --trainer.strategy ddp in the place of fsdp2; the rate is "
            "the same for as many images a step"
        )


def _find_lr(model: TrainingModule, data: Any, trainer: Trainer, image: Path) -> None:
    found = find_learning_rate(model, data, trainer, image=image)
    advice = "the loss does not fall; look at the data and the network"
    if found.base_lr is not None:
        advice = (
            f"steepest at a learning rate of {found.suggested:.3g}: --model.base_lr {found.base_lr:.3g} "
            f"for {found.global_batch} images a step"
        )
    rank_zero_print(f"{advice}\nthe loss over the rates is in {image}")


def _check_validation(trainer: Trainer, epochs: int) -> None:
    """The best epoch is found by validation, so there has to be one."""
    every = trainer.check_val_every_n_epoch
    if trainer.limit_val_batches == 0:
        raise ValueError("trainer.limit_val_batches must be above 0: the best epoch is found by validation")
    if every is None or every > max(epochs, 1):
        raise ValueError(
            f"trainer.check_val_every_n_epoch must be a number up to trainer.max_epochs {epochs}, got {every}: the "
            "best epoch is found by validation"
        )


def print_fields(group: str) -> None:
    """Print the fields of a group with their types and defaults."""
    for kind in _classes(group):
        parser = LightningArgumentParser()
        parser.add_class_arguments(kind, group, fail_untyped=False)
        head = "" if kind is Trainer else f"--{group} {'.'.join(kind.__module__.split('.')[:2])}.{kind.__name__}\n"
        print(f"{head}{_fields(parser)}\n")


def _classes(group: str) -> list[type]:
    """The classes of a group, those of detection where what it needs is installed."""
    with suppress(ModuleNotFoundError):
        from cotnet import detection, segmentation

        ours: dict[str, list[type]] = {
            "model": [detection.Detector, segmentation.Segmenter],
            "data": [detection.CocoData],
        }
        return _FIELDS[group] + ours.get(group, [])
    return _FIELDS[group]


def _fields(parser: LightningArgumentParser) -> str:
    text = parser.format_help()
    return "\n".join(line for line in text.splitlines() if line.lstrip().startswith("--") or line.startswith("      "))


def _parse(arguments: list[str], *, names_model: bool) -> TrainCLI:
    """Read the fields; a recipe that names no class of model trains a classifier."""
    try:
        return TrainCLI(
            TrainingModule if names_model else Classifier,
            LightningDataModule,
            subclass_mode_model=names_model,
            subclass_mode_data=True,
            run=False,
            args=arguments,
            save_config_callback=None,
            seed_everything_default=0,
            trainer_defaults=dict(_OWN),
            auto_configure_optimizers=False,
            parser_kwargs={"exit_on_error": False, "allow_abbrev": False},
        )
    except (ArgumentError, MisconfigurationException, ValueError, TypeError) as error:
        raise ValueError(sentence(str(error), _FIELDS)) from error


def _words(recipe: list[dict[str, Any]]) -> list[str]:
    return [f"--config={yaml.safe_dump(part, sort_keys=False)}" for part in recipe]


def _with_bases(words: list[str]) -> list[str]:
    """The words, with the fields of a file and of its bases in the place of each ``--config FILE``."""
    whole: list[str] = []
    pending = iter(words)
    for word in pending:
        if word == "--config" or word.startswith("--config="):
            file = word.partition("=")[2] or next(pending)
            whole += _words(read_recipe(Path(file)))
        else:
            whole.append(word)
    return whole


def _num_classes(data: Any) -> int:
    data.prepare_data()
    data.setup("fit")
    return data.num_classes


def _seed(config: Namespace) -> int:
    seed = config.seed_everything
    return 0 if isinstance(seed, bool) else int(seed)


def _silence() -> None:
    warnings.filterwarnings("ignore", module=r"(lightning|torch|torchmetrics|timm|jsonargparse|PIL)\b.*")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "jsonargparse", "timm"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _from_worker(error: Exception) -> str:
    """The message itself, out of the traceback that a loader process sends along."""
    found = re.findall(r"^[\w.]*Error: (.+)$", str(error), flags=re.MULTILINE)
    return found[-1] if found and str(error).startswith("Caught ") else str(error)
