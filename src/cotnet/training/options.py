"""The options of a run beside the fields of its model, data and trainer, and the words that set any of them.

Nothing here imports Lightning, so that a misspelt option is reported at once.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cotnet.training.spelling import spelling, stray


class Option(NamedTuple):
    """An option of a run.

    Attributes:
        name: As on the command line and in a recipe.
        metavar: Stands for its value in the help.
        kind: Type of its value.
        default: Its value where neither recipe nor command line give one.
        help: What it does.
    """

    name: str
    metavar: str
    kind: Any
    default: Any
    help: str


OPTIONS = (
    Option("ckpt_path", "FILE", str | None, None, "checkpoint to resume from, or the word last"),
    Option("save_every_n_steps", "N", int | None, None, "optimizer steps between checkpoints inside an epoch"),
    Option("save_every_n_minutes", "M", float | None, 15.0, "minutes between checkpoints inside an epoch; default 15"),
    Option("find_lr", "FILE.png", str | None, None, "instead of training, a learning-rate range test and its image"),
    Option("runs", "FOLDER", str, "runs", "where run folders RECIPE/NUMBER are made; default runs"),
    Option("seed_everything", "N", int, 0, "seed; default 0"),
)
GROUPS = ("model", "data", "trainer")
_HEADS = (*GROUPS, *(option.name for option in OPTIONS), "config", "print_config", "help")

Assignment = tuple[str, str | None]  # name without dashes, and value


def to_words(overrides: Mapping[str, Any] | Sequence[str] | None) -> list[str]:
    """Fields as the words of a command line, from a dict such as ``{"trainer.max_epochs": 3}`` or from words.

    Raises:
        TypeError: A value cannot be written as JSON.
    """
    if overrides is None:
        return []
    if isinstance(overrides, Mapping):
        texts = {name: _text(value) for name, value in overrides.items()}
        return [f"--{name}={text}" for name, text in texts.items()]
    return list(overrides)


def assignments(words: Sequence[str]) -> list[Assignment]:
    """Name and value of each field, None where no value follows.

    Raises:
        ValueError: A word belongs to no field, or a field is known by another name; the message gives the right one.
    """
    found: list[Assignment] = []
    pending = list(words)
    while pending:
        word = pending.pop(0)
        if not word.startswith("--"):
            raise ValueError(f"unexpected {word!r}; {stray(word, next(iter(pending), None))}")
        name, equals, text = word[2:].partition("=")
        value: str | None = text if equals else None
        if not equals and name != "print_config" and pending and not pending[0].startswith("--"):
            value = pending.pop(0)
        _check_head(name, value)
        found.append((name, value))
    return found


def check_files(given: Sequence[Assignment]) -> None:
    """Check the files that the options name, before anything is loaded.

    Raises:
        ValueError: The image of a range test has another suffix.
        FileNotFoundError: A file or a folder is missing.
    """
    for name, value in given:
        if name == "find_lr" and value != "null":
            if value is None or Path(value).suffix != ".png":
                raise ValueError(f"--find_lr must name a .png file to write, got {value!r}")
            if not Path(value).absolute().parent.is_dir():
                raise FileNotFoundError(f"--find_lr {value!r}: its folder does not exist; make it first")
        if name == "config" or (name == "ckpt_path" and value not in ("last", "null")):
            # A damaged or missing last.ckpt has one before it, see `cotnet.training.resume.open_resume`.
            spare = name == "ckpt_path" and value and Path(value).with_name("previous.ckpt").is_file()
            if not spare and not Path(value or "").is_file():
                raise FileNotFoundError(f"--{name} {value or ''!r} is not a file")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, Path) else json.dumps(value)


def _check_head(name: str, value: str | None) -> None:
    head = name.split(".")[0].rstrip("+")
    if head in _HEADS:
        return
    spelt = spelling(name, value=value)
    near = difflib.get_close_matches(head, _HEADS, n=1)
    hint = spelt or (f"--{near[0]}" if near else None)
    if hint is not None:
        raise ValueError(f"unknown field --{name}; did you mean {hint}? See cotnet train --help")
    if "." in name:
        raise ValueError(f"unknown field --{name}; fields begin with --model., --data. or --trainer.")
