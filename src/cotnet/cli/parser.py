"""An argument parser whose errors are one sentence, with the nearest option where one is misspelt."""

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from cotnet.files.machine import available_cpus

if TYPE_CHECKING:
    from cotnet.models.weights_file import WeightsFile


WEIGHTS_OPTIONS = ("model", "ema", "class_names")
DETECTION_OPTIONS = ("box_detections_per_img",)


class Parser(argparse.ArgumentParser):
    """argparse, but an error is raised as `ValueError` for the command line to print."""

    def __init__(self, command: str, description: str):
        super().__init__(
            f"cotnet {command}",
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Raise `ValueError`."""
        options = [option for action in self._actions for option in action.option_strings]
        unknown = [word.split("=")[0] for word in message.split() if word.startswith("-")]
        near = difflib.get_close_matches(unknown[0], options, n=1) if "unrecognized" in message and unknown else []
        hint = f"did you mean {near[0]}?" if near else f"see {self.prog} --help"
        raise ValueError(f"{message}; {hint}")


def at_least(least: int, name: str, value: int) -> int:
    """The value, or `ValueError` where it is less than `least`."""
    if value < least:
        raise ValueError(f"--{name} must be at least {least}, got {value}")
    return value


def add_weights_arguments(parser: Parser) -> None:
    """The options for files of weights that do not describe themselves, `WEIGHTS_OPTIONS`."""
    parser.add_argument("--model", metavar="NAME", help="the network, where WEIGHTS does not say it")
    parser.add_argument("--ema", action="store_true", help="averaged weights of a checkpoint that has both")
    parser.add_argument("--class-names", metavar="FILE", help="the classes, one a line, where WEIGHTS has no names")


def add_detection_arguments(group: Any) -> None:
    """The options that change a detector's limits, `DETECTION_OPTIONS`."""
    group.add_argument(
        "--box-detections-per-img", type=int, metavar="N", help="most objects in an image; default as in training"
    )


def add_run_arguments(parser: Parser, *, batch_size: int, formats: Sequence[str]) -> None:
    """The options for how images go through a network, and where the result goes."""
    workers = available_cpus()
    parser.add_argument("--batch-size", type=int, metavar="N", help=f"default {batch_size}, of others 4 images")
    parser.add_argument("--num-workers", type=int, default=workers, metavar="N", help="decoding processes")
    parser.add_argument("--no-fuse", action="store_true", help="the network as it was trained; slower")
    parser.add_argument("--format", choices=formats, help="default as the name of FILE ends, else table")
    parser.add_argument("--output", metavar="FILE", help="write there instead of to standard output")


def check_run_arguments(args: argparse.Namespace) -> None:
    """Raise `ValueError` where a number is out of its range."""
    at_least(0, "num-workers", args.num_workers)
    for name in ("batch_size", "box_detections_per_img"):
        if getattr(args, name) is not None:
            at_least(1, name.replace("_", "-"), getattr(args, name))


def check_options(weights: "WeightsFile", args: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Those of the options that have been given, by name.

    Raises:
        ValueError: One is for networks of another task than the weights'.
    """
    from cotnet.tasks import find_task

    values = {name: getattr(args, name) for name in names}
    given = {name: value for name, value in values.items() if value is not None and value is not False}
    find_task(weights, given, prefix="--")
    return given


def comma_separated(name: str, text: str, *, among: Sequence[str] = ()) -> list[str]:
    """The words of a list with commas between, each once.

    Args:
        name: The option, without its dashes.
        text: Its value.
        among: The words that there are; any word by default.

    Raises:
        ValueError: There is no word, or a word is not among those.
    """
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise ValueError(f"--{name} must be a list with commas between, got {text!r}")
    for word in words:
        if among and word not in among:
            raise ValueError(f"--{name} must be of {', '.join(among)}, got {word!r}")
    return words


def whole_numbers(name: str, text: str) -> list[int]:
    """The numbers of a list with commas between, each once.

    Raises:
        ValueError: There is no number, or a word is not a whole number.
    """
    words = comma_separated(name, text)
    if not all(word.isdecimal() for word in words):
        raise ValueError(f"--{name} must be whole numbers with commas between, got {text!r}")
    return list(dict.fromkeys(map(int, words)))
