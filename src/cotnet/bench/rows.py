"""Measurements as rows of plain values: with ratios to a baseline, for a table, for JSON lines and for the figure."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cotnet.bench.measure import Measurement

Row = dict[str, Any]

COLUMNS = (
    "model",
    "mode",
    "dtype",
    "batch",
    "size",
    "ms",
    "quartiles",
    "images/s",
    "x same mode",
    "x best",
    "peak MiB",
    "note",
)
_IDENTITY = ("model", "mode", "dtype", "batch", "size")


def to_rows(measurements: Sequence[Measurement], peaks_mib: Sequence[float | None], baseline: str) -> list[Row]:
    """The measurements of one group, which ran in turn, with their ratios to the baseline's speed.

    A ratio above 1 is faster than the baseline: ``ratio_same_mode`` in the same mode, ``ratio_best`` than the
    baseline's best mode at the same float type and batch. A row with wrong answers has no ratio and is nobody's
    baseline.

    Args:
        measurements: The measurements of the group.
        peaks_mib: Peak memory of each, or ``None``.
        baseline: Name of the network that the ratios refer to.
    """
    sound = {m.candidate: m.times.median_ms for m in measurements if m.times is not None and not m.wrong_answers}
    of_baseline = {c: ms for c, ms in sound.items() if c.model == baseline}
    rows = []
    for measurement, peak_mib in zip(measurements, peaks_mib, strict=True):
        c, times = measurement.candidate, measurement.times
        row: Row = {**vars(c), "error": measurement.error, "peak_mib": peak_mib, "note": measurement.reason}
        row["wrong_answers"] = measurement.wrong_answers
        if times is not None:
            row["median_ms"] = times.median_ms
            row["quartiles_ms"] = list(times.quartiles_ms)
            row["images_per_s"] = round(1e3 * c.batch / times.median_ms, 2)
        if c in sound:
            alike = {b: ms for b, ms in of_baseline.items() if (b.dtype, b.batch) == (c.dtype, c.batch)}
            same = [ms for b, ms in alike.items() if b.mode == c.mode]
            row["ratio_same_mode"] = round(same[0] / sound[c], 3) if same else None
            row["ratio_best"] = round(min(alike.values()) / sound[c], 3) if alike else None
        rows.append(row)
    return rows


def cells(row: Row) -> list[str]:
    """The text of a row under ``COLUMNS``."""

    def text(key: str, form: str) -> str:
        return format(row[key], form) if row.get(key) is not None else ""

    low, high = row.get("quartiles_ms") or (None, None)
    return [
        *(str(row[key]) for key in _IDENTITY),
        text("median_ms", ".2f"),
        f"{low:.2f} to {high:.2f}" if low is not None else "",
        text("images_per_s", ".1f"),
        text("ratio_same_mode", ".2f"),
        text("ratio_best", ".2f"),
        text("peak_mib", ".0f"),
        row["note"] or "",
    ]


def best_modes(rows: Iterable[Row], *, dtype: str = "float32") -> dict[tuple[str, int], float]:
    """Each network's time in its fastest mode with right answers, at its largest batch.

    Args:
        rows: The rows to choose from.
        dtype: Float type of the rows that count.

    Returns:
        Milliseconds per image, by network and image size.
    """
    best: dict[tuple[str, int], tuple[int, float]] = {}
    for row in rows:
        if row["dtype"] != dtype or row["wrong_answers"] or "median_ms" not in row:
            continue
        key, time = (row["model"], row["size"]), (-row["batch"], row["median_ms"] / row["batch"])
        best[key] = min(best.get(key, time), time)
    return {key: ms for key, (_, ms) in best.items()}


def append_rows(path: str | Path, rows: Iterable[Row]) -> None:
    """Append rows to a file, a line of JSON for each.

    Raises:
        OSError: The file cannot be written.
    """
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def read_rows(path: str | Path) -> list[Row]:
    """Read what ``append_rows`` has written: the last row of each network, mode, float type, batch and size.

    Raises:
        ValueError: A line is not a measurement, or there is no line.
        OSError: The file cannot be read.
    """
    rows: dict[tuple[Any, ...], Row] = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            rows[tuple(row[key] for key in _IDENTITY)] = row
            _ = row["wrong_answers"], row["note"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: line {number} is not a measurement of cotnet bench --json") from error
    if not rows:
        raise ValueError(f"{path} contains no measurements; name a file that cotnet bench --json has written")
    return list(rows.values())
