"""`run_recipe`: a recipe with overrides becomes a run."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotnet.training.options import assignments, check_files, to_words
from cotnet.training.recipe import DEFAULT, find_recipe, read_recipe, recipe_name

if TYPE_CHECKING:
    from cotnet.training.lr_finder import RangeTest


@dataclass(frozen=True)
class RunResult:
    """What a run has left.

    Attributes:
        folder: The run folder; None after a learning-rate range test, which makes none.
        score: The monitored metric of the best epoch, as a fraction of 1; None without a validated epoch.
        weights: The trained network, or None where no epoch is complete, and in all processes but the first.
        status: How it ended, as a sentence.
        range_test: What a learning-rate range test has found, or None after training.
    """

    folder: Path | None
    score: float | None
    weights: Path | None
    status: str
    range_test: "RangeTest | None" = None


def run_recipe(
    recipe: str | Path = DEFAULT,
    overrides: Mapping[str, Any] | Sequence[str] | None = None,
    *,
    runs: str | Path | None = None,
) -> RunResult:
    """Train as a recipe says, with the given fields in the place of its own.

    What can be checked without Lightning is checked before it is loaded.

    Args:
        recipe: Name of a shipped recipe, or the path of a YAML file.
        overrides: Fields by their dotted names, ``{"trainer.max_epochs": 3, "data.root": "images"}``, or the words of
            a command line, ``["--trainer.max_epochs", "3"]``.
        runs: Folder of the run folders; None for the recipe's, which is ``runs``.

    Returns:
        The run folder, the best score and the trained network.

    Raises:
        ValueError: A field, the recipe or the data is wrong, or the run cannot continue; the message says why.
        OSError: A file is missing or cannot be written.
        SystemExit: A signal stopped the run, and its state is saved.

    Example:
        >>> run_recipe("finetune", {"data.root": "images", "trainer.max_epochs": 3}).score
        0.84
    """
    words = to_words(overrides) + ([] if runs is None else [f"--runs={runs}"])
    path = find_recipe(str(recipe))
    check_files(assignments(words))
    fields = read_recipe(path)

    from cotnet.training.assembly import assemble_and_run

    return assemble_and_run(
        recipe_name(path), fields, words, command=shlex.join(["cotnet", "train", str(recipe), *words])
    )
