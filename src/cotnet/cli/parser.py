"""An argument parser whose errors are one sentence, with the nearest option where one is misspelt."""

import argparse
import difflib
from collections.abc import Sequence
from typing import NoReturn


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
