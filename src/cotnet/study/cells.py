"""Training the cells of a study, each in a process and a folder of its own."""

import csv
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cotnet.files.atomic import replacing
from cotnet.files.machine import available_cpus
from cotnet.files.weights import read_weights
from cotnet.study.grid import Case, Study
from cotnet.training.options import to_words

_POLL_S = 0.5
_FIRST_GUESS_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Cell:
    """One training run of a study.

    Attributes:
        case: The network.
        seed: The run's seed.
        folder: Holds the cell's runs and its result.
    """

    case: Case
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return f"{self.case.label}, seed {self.seed}"

    @property
    def result_path(self) -> Path:
        """The file of the result, once the cell is done."""
        return self.folder / "result.json"

    def result(self) -> dict[str, Any] | None:
        """The result of the run, None before it is done.

        Raises:
            ValueError: The file is damaged.
        """
        return _read(self.result_path, "result of a cell", {"top1", "size", "classes", "settings"})

    def settings(self) -> dict[str, Any] | None:
        """What the cell was started with, None before it was.

        Raises:
            ValueError: The file is damaged.
        """
        return _read(self.folder / "settings.json", "cell's settings", {"recipe", "fields", "words"})

    def runs(self) -> list[Path]:
        """The folders of the cell's runs so far, the latest last."""
        return [path.parent for path in sorted(self.folder.glob("runs/*/*/metrics.csv"), key=_modified)]

    def complete_run(self) -> Path | None:
        """The latest run, if it went through its last epoch and left its weights."""
        for run in self.runs()[-1:]:
            try:
                epochs = yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_epochs"]
            except (OSError, yaml.YAMLError, KeyError, TypeError):
                return None
            if len(_rows(run)) >= epochs and (run / "weights.safetensors").is_file():
                return run
        return None


def cells_of(study: Study, output: Path) -> list[Cell]:
    """The cells, one seed of every case before the next seed of any, so that an unfinished study compares all."""
    return [Cell(case, seed, output / "cells" / case.label / str(seed)) for seed in study.seeds for case in study.cases]


def run_cells(
    study: Study, cells: list[Cell], words: Sequence[str], *, jobs: int, say: Callable[[str], None] = print
) -> list[str]:
    """Train every cell that is not done, up to `jobs` at a time while memory allows.

    A cell that was interrupted resumes from its last epoch.

    Args:
        study: Has the recipe and its fields.
        cells: What to train.
        words: Further fields, after those of the study.
        jobs: The largest number of cells at a time.
        say: Takes a line about each cell.

    Returns:
        A line for each cell that failed.

    Raises:
        ValueError: A folder holds the result of other settings.
    """
    settings = {cell.folder: _settings(study, cell, words) for cell in cells}
    for cell in cells:
        done = cell.result()
        before = cell.settings() if done is None else done["settings"]
        if before not in (None, settings[cell.folder]):
            raise ValueError(f"{cell.folder} was trained with other settings; choose another --output, or remove it")
    for cell in cells:  # a study that was killed between the end of a run and its result
        run = cell.complete_run() if cell.result() is None else None
        if run is not None:
            _write_result(cell, run, settings[cell.folder])
    waiting = [cell for cell in cells if cell.result() is None]
    if len(waiting) < len(cells):
        say(f"{len(cells) - len(waiting)} of {len(cells)} cells are done already")
    running: dict[Cell, tuple[subprocess.Popen[bytes], float]] = {}
    failed: list[str] = []
    threads = max(available_cpus() // jobs, 1)
    try:
        while waiting or running:
            while waiting and len(running) < jobs and (not running or _memory_allows()):
                cell = waiting.pop(0)
                try:
                    running[cell] = (_start(study, cell, words, settings[cell.folder], threads=threads), time.time())
                except OSError as error:
                    failed.append(f"{cell.name}: {error}")
                    say(f"{cell.name}: failed: {error}")
            time.sleep(_POLL_S)
            for cell, (process, started) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[cell]
                try:
                    outcome = f"top-1 {_finish(cell, process.returncode, settings[cell.folder]):.1%}"
                except (OSError, ValueError) as error:
                    failed.append(f"{cell.name}: {error}")
                    outcome = f"failed: {error}"
                to_go = len(waiting) + len(running)
                say(f"{cell.name}: {outcome}, {time.time() - started:.0f} s; {to_go} cells to go")
    finally:
        for process, _ in running.values():
            process.terminate()
            process.wait()
    return failed


def _settings(study: Study, cell: Cell, words: Sequence[str]) -> dict[str, Any]:
    return {"recipe": study.recipe, "fields": study.fields, "words": list(words), "seed": cell.seed} | {
        "body": cell.case.body,
        "kwargs": cell.case.kwargs,
    }


def cell_words(study: Study, cell: Cell, words: Sequence[str]) -> list[str]:
    """The fields of a cell's run over the study's recipe: those of the study, further ones, those of the case."""
    # The recipe's arguments of the network go first; those of the case would be put over them.
    case = {"model.name": cell.case.body, "seed_everything": cell.seed, "model.kwargs": None}
    return [*to_words(study.fields), *words, *to_words(case), *to_words({"model.kwargs": cell.case.kwargs})]


def _start(
    study: Study, cell: Cell, words: Sequence[str], settings: dict[str, Any], *, threads: int
) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "cotnet.study.train_cell", study.recipe, str(cell.folder / "runs")]
    command += cell_words(study, cell, words)
    earlier = sorted(cell.folder.glob("runs/*/*/last.ckpt"), key=_modified)
    if earlier:
        command += ["--ckpt_path", str(earlier[-1])]
    cell.folder.mkdir(parents=True, exist_ok=True)
    _write(cell.folder / "settings.json", settings)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with (cell.folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def _finish(cell: Cell, status: int, settings: dict[str, Any]) -> float:
    """Write the result of a run that ended, and return its top-1; a `ValueError` says what went wrong."""
    runs = cell.runs()
    if status or not runs:
        log = cell.folder / "log.txt"
        lines = log.read_text("utf-8", "replace").splitlines()
        raise ValueError(f"{lines[-1] if lines else 'no output'} (exit status {status}, see {log})")
    return _write_result(cell, runs[-1], settings)


def _write_result(cell: Cell, run: Path, settings: dict[str, Any]) -> float:
    rows = _rows(run)
    _, card = read_weights(run / "weights.safetensors")
    if not rows or "val_top1" not in rows[-1]:
        raise ValueError(f"{run / 'metrics.csv'} holds no validation top-1")
    # The last epoch, not the best one: choosing an epoch by its validation score would flatter the noisier case.
    result = {
        "top1": float(rows[-1]["val_top1"]),
        "train_seconds": sum(float(row["seconds"]) for row in rows),
        "epochs": len(rows),
        "run": str(run.relative_to(cell.folder)),
        "size": card.preprocessing["input_size"][-1],
        "classes": len(card.class_names),
        "settings": settings,
    }
    _write(cell.result_path, result)
    return float(rows[-1]["val_top1"])


def _write(path: Path, values: dict[str, Any]) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(values, indent=1))


def _read(path: Path, what: str, keys: set[str]) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
        if not isinstance(found, dict) or not keys <= found.keys():
            raise ValueError(f"it is no {what}")
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); remove it to make it again") from error
    return found


def _rows(run: Path) -> list[dict[str, str]]:
    """The epochs of a run."""
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def _modified(path: Path) -> float:
    return path.stat().st_mtime


def _memory_allows() -> bool:
    """Whether another cell of the largest size so far fits into half of the memory that is available."""
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 or _FIRST_GUESS_BYTES
    return _available_bytes() > 2 * largest


def _available_bytes() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
