"""The results of a study: one line for each case, and whether the order that the authors report is confirmed."""

import csv
import itertools
import json
import math
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from cotnet.files.atomic import replacing
from cotnet.models import count_macs, count_parameters
from cotnet.study.cells import Cell
from cotnet.study.grid import Case, Study

_TIMED_BATCH = 32
_TIMED_S = 1.5
COLUMNS = ("case", "seeds", "top-1 %", "s.d.", "parameters M", "M MACs", "images/s", "published top-1 %")


@dataclass(frozen=True)
class Result:
    """A case over its seeds.

    Attributes:
        case: The network.
        top1: Validation top-1 of the last epoch by seed, fractions of 1.
        parameters: Of the network.
        macs: Multiply-accumulates for one image, as the paper counts.
        images_per_s: Of the forward pass on this machine, batch 32, or NaN where not measured.
    """

    case: Case
    top1: dict[int, float]
    parameters: int
    macs: int
    images_per_s: float

    @property
    def mean(self) -> float:
        """Mean top-1 in percent."""
        return 100 * statistics.mean(self.top1.values())

    @property
    def spread(self) -> float:
        """Standard deviation of top-1 over the seeds in percent; NaN for one seed."""
        return 100 * statistics.stdev(self.top1.values()) if len(self.top1) > 1 else float("nan")


def summarise(study: Study, cells: Iterable[Cell], *, speed_file: Path) -> list[Result]:
    """A result for each case that has a finished cell, with its cost; the speed is measured once and kept in a file."""
    done = [(cell, result) for cell in cells if (result := cell.result()) is not None]
    speeds = _speeds(speed_file)
    results = []
    for case in study.cases:
        runs = {cell.seed: result for cell, result in done if cell.case == case}
        if not runs:
            continue
        scores = {seed: float(run["top1"]) for seed, run in runs.items()}
        size, classes = (next(iter(runs.values()))[key] for key in ("size", "classes"))
        network = case.network(classes).eval()
        if case.label not in speeds:
            speeds[case.label] = _images_per_s(network, size)
            with replacing(speed_file) as partial:
                partial.write_text(json.dumps(speeds))
        cost = count_parameters(network), count_macs(network, size)
        results.append(Result(case, scores, *cost, speeds[case.label]))
    return results


def _speeds(file: Path) -> dict[str, float]:
    """What was measured before; nothing where the file is damaged, since measuring again costs little."""
    try:
        speeds = json.loads(file.read_text()) if file.is_file() else {}
    except ValueError:
        return {}
    return speeds if isinstance(speeds, dict) else {}


def compare(lower: Result, higher: Result) -> str:
    """Whether one case is above another, from the differences of equal seeds, in a sentence with its confidence.

    The interval is Student's, for differences that are normal over the seeds; it says nothing of other data.
    """
    from scipy import stats

    seeds = sorted(lower.top1.keys() & higher.top1.keys())
    pair = f"{lower.case.label} < {higher.case.label}"
    differences = [100 * (higher.top1[seed] - lower.top1[seed]) for seed in seeds]
    if len(seeds) < 2:
        reason = f"{differences[0]:+.2f} points with one seed" if differences else "no common seed"
        return f"{pair}: open ({reason})"
    mean, error = statistics.mean(differences), statistics.stdev(differences) / len(seeds) ** 0.5
    half = float(stats.t.ppf(0.975, len(seeds) - 1)) * error
    confidence = float(stats.t.cdf(mean / error, len(seeds) - 1)) if error else float(mean > 0)
    verdict = "confirmed" if mean > half else "contradicted" if mean < -half else "not confirmed"
    return (
        f"{pair}: {verdict} ({mean:+.2f} points, 95 % interval {mean - half:+.2f} to {mean + half:+.2f}, {len(seeds)} "
        f"seeds; confidence that it is above zero {confidence:.1%})"
    )


def write_tables(study: Study, results: list[Result], output: Path, *, notes: list[str]) -> str:
    """Write ``results.csv`` and ``report.md`` into the study's folder.

    Args:
        study: Has the order that the authors report.
        results: A row each.
        output: The study's folder.
        notes: Lines below the table.

    Returns:
        The report.
    """
    rows = [_row(result) for result in results]
    with replacing(output / "results.csv") as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, "top-1 % by seed"])
        for row, result in zip(rows, results, strict=True):
            by_seed = " ".join(f"{seed}:{100 * score:.2f}" for seed, score in sorted(result.top1.items()))
            writer.writerow([*row, by_seed])
    lines = [f"# {study.title}", "", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    by_label = {result.case.label: result for result in results}
    chains = [[by_label[label] for label in chain if label in by_label] for chain in study.order]
    verdicts = [compare(low, high) for chain in chains for low, high in itertools.pairwise(chain)]
    verdicts += [compare(chain[0], chain[-1]) for chain in chains if len(chain) > 2]
    if verdicts:
        lines += ["", "The order that the authors report, pair by pair:", "", *(f"- {verdict}" for verdict in verdicts)]
    lines += ["", *notes, ""]
    report = "\n".join(lines)
    with replacing(output / "report.md") as partial:
        partial.write_text(report, "utf-8")
    return report


def _row(result: Result) -> list[str]:
    published = result.case.published
    return [
        result.case.label,
        str(len(result.top1)),
        f"{result.mean:.2f}",
        "" if math.isnan(result.spread) else f"{result.spread:.2f}",
        f"{result.parameters / 1e6:.3f}",
        f"{result.macs / 1e6:.2f}",
        f"{result.images_per_s:.0f}",
        ("about " if published.approximate else "") + f"{published.top1:.1f}" if published else "",
    ]


@torch.inference_mode()
def _images_per_s(network: torch.nn.Module, size: int) -> float:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network, x = network.to(device), torch.randn(_TIMED_BATCH, 3, size, size, device=device)
    network(x)
    times: list[float] = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < _TIMED_S or len(times) < 3:
        start = time.perf_counter()
        network(x).sum().item()  # waits for the device
        times.append(time.perf_counter() - start)
    network.cpu()
    return _TIMED_BATCH / statistics.median(times)
