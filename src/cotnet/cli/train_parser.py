"""The fields of `cotnet train` on Lightning's command line, and their errors as one sentence."""

import difflib
import inspect
import logging
import re
import warnings
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import cotnet.data as data_modules
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
    epochs = cli.config.trainer.max_epochs
    if epochs is None:
        raise ValueError("the recipe does not say how long to train; pass --trainer.max_epochs")
    if trainer.limit_val_batches == 0:
        raise ValueError("trainer.limit_val_batches must be above 0: the best epoch is found by validation")
    resume = Path(cli.config.ckpt_path) if cli.config.ckpt_path else None
    prepare(model, data, resume=resume, epochs=epochs)
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
        for name in data_modules.__all__:
            if name != "PictureData":
                parser = LightningArgumentParser()
                parser.add_class_arguments(getattr(data_modules, name), "data", fail_untyped=False)
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
            parser_kwargs={"exit_on_error": False, "allow_abbrev": False},
        )
    except (ArgumentError, MisconfigurationException, ValueError, TypeError) as error:
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
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "jsonargparse", "timm"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _sentence(text: str) -> str:
    """The parser's account of an error in one sentence, with the nearest field where one is misspelt."""
    text = _innermost(text)
    unknown = re.search(r"nrecognized arguments: --(\S+?)(?:[ =]|$)", text) or re.search(
        r"Option '([\w.]+)' is not accepted|Key ['\"]([\w.]+)['\"] is not expected|"
        r"accept (?:option|nested key) '([\w.]+)'",
        text,
    )
    if unknown:
        field = next(name for name in unknown.groups() if name)
        return f"unknown field {field}; {_nearest(field)}"
    typed = re.search(
        r"Parser key \"([\w.]+)\": Expected (?:an? )?(.+?)\.? (?:Got|Given) value:? ?(?:type: .* Given value: )?(.*)",
        text,
    )
    if typed:
        kind = re.sub(r"<class '([\w.]+)'>", r"\1", typed[2])
        return f"{typed[1]} must be {kind}, got {typed[3]!r}"
    return text


def _innermost(text: str) -> str:
    """Of a failed link the error in it; of a refused union the first reason that concerns a value."""
    if " --> " in text and ") failed: " in text:
        text = text.split(") failed: ", 1)[1]
    field = re.search(r'Parser key "([\w.]+)"', text)
    if "Union subtypes" in text:
        reasons = re.split(r"^\s*- |^Given value type:", text, flags=re.MULTILINE)[1:]
        useful = [one for one in reasons if "NoneType" not in one and "Expected a path but" not in one]
        useful = [one for one in useful if "Union subtypes" not in one.splitlines()[0] and one.strip()]
        text = useful[0] if useful else text
    text = " ".join(re.sub(r"Problem with given class_path '[\w.]+':\s*", "", text).split())
    if field and text.startswith("Expected"):
        text = f'Parser key "{field[1]}": {text}'
    return text


def _nearest(field: str) -> str:
    group, _, name = field.rpartition(".")
    kinds: dict[str, list[Any]] = {
        "model": [Classifier],
        "data": [getattr(data_modules, kind) for kind in data_modules.__all__ if kind != "PictureData"],
        "trainer": [Trainer],
    }
    fields = {
        f"--{kind}.{parameter}": parameter
        for kind, classes in kinds.items()
        for one in classes
        for parameter in inspect.signature(one).parameters
        if group in ("", kind) or group.startswith(f"{kind}.")
    }
    near = difflib.get_close_matches(name, set(fields.values()), n=1)
    if not near:
        return f"cotnet train --help {group if group in kinds else 'data'} lists the fields"
    return "did you mean " + " or ".join(sorted(key for key, value in fields.items() if value == near[0])) + "?"


def _from_worker(error: ValueError) -> str:
    """The message itself, out of the traceback that a loader process sends along."""
    found = re.findall(r"^ValueError: (.+)$", str(error), flags=re.MULTILINE)
    return found[-1] if found and str(error).startswith("Caught ") else str(error)
