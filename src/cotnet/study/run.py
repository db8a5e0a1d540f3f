"""A study from its cells to table, report and figure."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from cotnet.files.machine import available_cpus
from cotnet.study.cells import cells_of, run_cells
from cotnet.study.figure import draw_study
from cotnet.study.grid import Study
from cotnet.study.results import summarise, write_tables
from cotnet.training.recipe import find_recipe


def run_study(
    study: Study,
    output: Path,
    words: Sequence[str] = (),
    *,
    jobs: int | None = None,
    train: bool = True,
    say: Callable[[str], None] = print,
) -> tuple[str, list[str]]:
    """Train what is not done yet, and compare all that is.

    Args:
        study: The cases, seeds and recipe.
        output: Folder of the study; receives ``results.csv``, ``report.md``, ``figure.png`` and the cells' runs.
        words: Fields for every run, as the words of ``cotnet train``.
        jobs: The largest number of cells at a time; None for one per processor, or one with a GPU.
        train: Train; otherwise report what is done.
        say: Takes a line about each cell.

    Returns:
        The report, and a line for each cell that failed.

    Raises:
        ValueError: The study cannot be run, or nothing of it is done.
    """
    study.check()
    find_recipe(study.recipe)
    cells = cells_of(study, output)
    jobs = jobs or (1 if torch.cuda.is_available() else available_cpus())
    failed = run_cells(study, cells, words, jobs=jobs, say=say) if train else []
    results = summarise(study, cells, speed_file=output / "speed.json")
    if not results:
        raise ValueError("; ".join(failed) or f"nothing is done in {output} yet")
    done = sum(cell.result() is not None for cell in cells)
    given = {word.partition("=")[0].removeprefix("--") for word in words}
    kept = [f"--{name} {value}" for name, value in study.fields.items() if name not in given]
    fields = " ".join([*kept, *words])
    note = (
        f"{done} of {len(cells)} cells; recipe {study.recipe} {fields}. Top-1 of the last epoch on the validation "
        "images; images/s of the forward pass alone, batch 32, on this machine. Published: the authors' counterpart on "
        "ImageNet, another body on other data: compare orders, not values."
    )
    report = write_tables(study, results, output, notes=[note])
    draw_study(study.title, results, output / "figure.png", data="validation of this study")
    return report, failed
