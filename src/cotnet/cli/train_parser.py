"""The fields of `cotnet train` on Lightning's command line, and their errors as one sentence."""

import difflib
import logging
import re
import warnings
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cotnet.data import PictureData
from cotnet.train import Classifier, fit, next_folder, prepare

# A run brings its own logger, checkpoints and progress; see cotnet.train.run.
_OWN: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


class TrainCLI(LightningCLI):
    """Parses and builds; nothing is written."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Where to write, what to resume, and the number of classes from the data."""
        parser.add_argument("--runs", type=str, default="runs", help="Folder of the run folders.")
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="Checkpoint to resume from.")
        parser.link_arguments("data", "model.num_classes", compute_fn=_num_classes, apply_on="instantiate")


def train(recipe: Path, fields: list[str]) -> None:
    """Train as a recipe and the fields that override it say.

    Raises:
        ValueError: Something is wrong with them, the data or the checkpoint.
    """
    _silence()
    cli = _parse(["--config", str(recipe), *fields])
    model, data, trainer = cli.model, cli.datamodule, cli.trainer
    if cli.config.trainer.max_epochs is None:
        raise ValueError("the recipe does not say how long to train; pass --trainer.max_epochs")
    resume = Path(cli.config.ckpt_path) if cli.config.ckpt_path else None
    prepare(model, data, resume=resume, epochs=trainer.max_epochs)
    folder = next_folder(Path(cli.config.runs), recipe.stem)
    print(
        f"training {model.name} ({sum(p.numel() for p in model.network.parameters()) / 1e6:.2f} M parameters) on "
        f"{len(data.train_set)} pictures of {data.num_classes} classes, validating on {len(data.val_set)}",
        flush=True,
    )

    def write_config(path: Path) -> None:
        text = cli.parser.dump(cli.config, skip_none=False, skip_link_targets=True, format="yaml")
        path.write_text(f"# cotnet train {path.name}\n{text}")

    try:
        fit(model, data, trainer, folder=folder, seed=_seed(cli.config), resume=resume, write_config=write_config)
    except ValueError as error:
        raise ValueError(_from_worker(error)) from error


def print_fields(group: str) -> None:
    """Print the fields of a group with their types and defaults."""
    if group == "data":
        from cotnet import data

        for name in data.__all__:
            if name != "PictureData":
                parser = LightningArgumentParser()
                parser.add_class_arguments(getattr(data, name), "data", fail_untyped=False)
                print(f"--data cotnet.data.{name}\n{_fields(parser)}\n")
        return
    parser = LightningArgumentParser()
    parser.add_class_arguments(Classifier if group == "model" else Trainer, group, fail_untyped=False)
    print(_fields(parser))


def _fields(parser: LightningArgumentParser) -> str:
    text = parser.format_help()
    return "\n".join(line for line in text.splitlines() if line.lstrip().startswith("--") or line.startswith("      "))


def _parse(arguments: list[str]) -> TrainCLI:
    try:
        return TrainCLI(
            Classifier,
            PictureData,
            subclass_mode_data=True,
            run=False,
            args=arguments,
            save_config_callback=None,
            seed_everything_default=0,
            trainer_defaults=dict(_OWN),
            auto_configure_optimizers=False,
            parser_kwargs={"exit_on_error": False},
        )
    except ArgumentError as error:
        raise ValueError(_sentence(str(error))) from error
    except (MisconfigurationException, TypeError) as error:
        raise ValueError(_sentence(str(error))) from error


def _num_classes(data: PictureData) -> int:
    data.prepare_data()
    data.setup("fit")
    return data.num_classes


def _seed(config: Namespace) -> int:
    seed = config.seed_everything
    return 0 if isinstance(seed, bool) else int(seed)


def _silence() -> None:
    warnings.filterwarnings("ignore", module=r"(lightning|torch|torchmetrics|timm|jsonargparse)\b.*")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "jsonargparse"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _sentence(text: str) -> str:
    """jsonargparse's account of an error, without its walls, with the nearest field where one is misspelt."""
    return " ".join(text.split())


def _from_worker(error: ValueError) -> str:
    """The message itself, out of the traceback that a loader process sends along."""
    found = re.findall(r"^ValueError: (.+)$", str(error), flags=re.MULTILINE)
    return found[-1] if found and str(error).startswith("Caught ") else str(error)
