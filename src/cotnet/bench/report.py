"""Measurements as rows: with their ratios to a baseline, for a table, for JSON lines and for the figure."""

import os
import platform
import re
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from cotnet.bench.candidates import Setting
from cotnet.bench.measure import Row

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


def plain_rows(rows: Sequence[Row], memory: Sequence[float | None], baseline: str) -> list[dict[str, Any]]:
    """The rows of one group, which was measured in turn, as plain values with ratios to its baseline's speed.

    A ratio above 1 is faster than the baseline: in the same mode, and than the baseline's best mode at the same float
    type and batch. A row whose answers are wrong has none, and is nobody's baseline.
    """
    sound = {row.candidate: row.times.median_ms for row in rows if row.times is not None and not row.wrong}
    of_baseline = {c: ms for c, ms in sound.items() if c.model == baseline}
    plain = []
    for row, peak_mib in zip(rows, memory, strict=True):
        c = row.candidate
        entry: dict[str, Any] = {**vars(c), "error": row.error, "peak_mib": peak_mib, "note": row.fault}
        entry["wrong_answers"] = row.wrong
        if row.times is not None:
            entry["median_ms"] = row.times.median_ms
            entry["quartiles_ms"] = list(row.times.quartiles_ms)
            entry["images_per_s"] = round(1e3 * c.batch / row.times.median_ms, 2)
        if c in sound:
            alike = {b: ms for b, ms in of_baseline.items() if (b.dtype, b.batch) == (c.dtype, c.batch)}
            same = [ms for b, ms in alike.items() if b.mode == c.mode]
            entry["ratio_same_mode"] = round(same[0] / sound[c], 3) if same else None
            entry["ratio_best"] = round(min(alike.values()) / sound[c], 3) if alike else None
        plain.append(entry)
    return plain


def cells(row: dict[str, Any]) -> list[str]:
    """The text of a row under `COLUMNS`."""

    def text(key: str, form: str) -> str:
        return format(row[key], form) if row.get(key) is not None else ""

    low, high = row.get("quartiles_ms") or (None, None)
    return [
        *(str(row[key]) for key in ("model", "mode", "dtype", "batch", "size")),
        text("median_ms", ".2f"),
        f"{low:.2f} to {high:.2f}" if low is not None else "",
        text("images_per_s", ".1f"),
        text("ratio_same_mode", ".2f"),
        text("ratio_best", ".2f"),
        text("peak_mib", ".0f"),
        row["note"] or "",
    ]


def best_modes(rows: Iterable[dict[str, Any]], *, dtype: str = "float32") -> dict[tuple[str, int], float]:
    """Milliseconds for an image in the fastest mode with right answers, at the largest batch, by network and size."""
    best: dict[tuple[str, int], tuple[int, float]] = {}
    for row in rows:
        if row["dtype"] != dtype or row["wrong_answers"] or "median_ms" not in row:
            continue
        key, found = (row["model"], row["size"]), (-row["batch"], row["median_ms"] / row["batch"])
        best[key] = min(best.get(key, found), found)
    return {key: ms for key, (_, ms) in best.items()}


def machine(setting: Setting) -> dict[str, Any]:
    """What the figures hang on."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", info.read_text(), re.M) if info.is_file() else []
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{len(names)} x {names[0]}" if names else f"{os.cpu_count()} x {platform.processor()}",
        "threads": setting.threads,
        "layout": setting.layout,
        "blocks": setting.blocks,
        "versions": {name: _version(name) for name in ("cotnet", "torch", "timm", "onnxruntime", "openvino")},
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
    }


def _version(package: str) -> str | None:
    if package == "cotnet":
        from cotnet._version import __version__

        return __version__
    try:
        return version(package)
    except PackageNotFoundError:
        return None
