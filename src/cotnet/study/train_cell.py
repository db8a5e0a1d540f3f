"""One cell's training, which a study runs as ``python -m cotnet.study.train_cell RECIPE RUNS WORD ...``."""

import sys
from collections.abc import Sequence

from cotnet.training import run_recipe


def main(arguments: Sequence[str]) -> int:
    """Train a cell.

    Args:
        arguments: The recipe, the folder of the run folders, and fields as words.

    Returns:
        The exit status: 0, or 2 after an error, which is one line on standard error.
    """
    recipe, runs, *words = arguments
    try:
        run_recipe(recipe, words, runs=runs)
    except (ValueError, OSError, RuntimeError) as error:
        print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
