"""``report.md``: a run on one page."""

import platform
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cotnet.files.atomic import replacing
from cotnet.files.machine import available_cpus, processor, versions
from cotnet.files.weights import WeightsCard
from cotnet.training.module import TrainingModule
from cotnet.training.progress import duration
from cotnet.training.resume import Resume

_PACKAGES = ("cotnet", "torch", "lightning", "timm", "torchvision")
_IMAGES = (
    ("curves.png", "learning curves"),
    ("confusion.png", "confusion matrix"),
    ("confused.png", "most confused"),
    ("precision_recall.png", "precision over recall"),
    ("samples.jpg", "images with the network's answers"),
)


def session(resume: Resume | None, changed: Sequence[str]) -> dict[str, Any]:
    """A start of the run, for its history, in plain values.

    Args:
        resume: The checkpoint that it resumes from, or None.
        changed: Fields that differ from the run before.
    """
    epoch, batch = (0, 0) if resume is None else resume.position
    return {
        "started": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "host": platform.node(),
        "from": "" if resume is None else str(resume.path),
        "epoch": epoch,
        "batch": batch,
        "changed": list(changed),
    }


def write_report(
    folder: Path,
    *,
    title: str,
    status: str,
    command: str,
    model: TrainingModule,
    facts: dict[str, str],
    history: Sequence[dict[str, float]],
    counts: np.ndarray | None,
    sessions: Sequence[dict[str, Any]],
    unreadable: Sequence[str],
) -> None:
    """Write the report of a run.

    Args:
        folder: The run folder.
        title: Names the run.
        status: How it ended.
        command: What started it, as typed in a shell or in Python.
        model: What was trained, with its card.
        facts: More lines of the first table.
        history: One row per epoch, with the columns of ``metrics.csv``.
        counts: `TrainingModule.counts` of the best epoch, or None.
        sessions: What `session` has returned for each start, in order.
        unreadable: Names of images that were skipped.
    """
    assert model.card is not None
    lines = [f"# {title}", "", status, "", *table(("", ""), _summary(model, model.card, facts, history)), ""]
    lines += ["The command, and [config.yaml](config.yaml) with every field:", "", "```sh", command, "```", ""]
    lines += ["## Epochs", "", *_epochs(model, history), ""]
    lines += [line for name, text in _IMAGES if (folder / name).is_file() for line in (f"![{text}]({name})", "")]
    lines += model.report(counts)
    lines += ["## Starts", "", *_starts(sessions), ""]
    if unreadable:
        lines += [f"## Skipped: {len(unreadable)} unreadable images", "", *(f"- `{name}`" for name in unreadable)]
        lines += [""]
    lines += ["## Machine", "", *table(("", ""), machine().items())]
    with replacing(folder / "report.md") as partial:
        partial.write_text("\n".join(lines) + "\n", "utf-8", errors="surrogateescape")


def machine() -> dict[str, str]:
    """What the run computes on and with."""
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] or ["none"]
    return {
        "processor": f"{processor()}, {available_cpus()} threads available, {torch.get_num_threads()} used by torch",
        "accelerators": ", ".join(devices),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "packages": ", ".join(f"{name} {version}" for name, version in versions(*_PACKAGES).items()),
    }


def _summary(
    model: TrainingModule, card: WeightsCard, facts: dict[str, str], history: Sequence[dict[str, float]]
) -> Iterable[tuple[str, str]]:
    yield "network", f"{card.model} {card.kwargs or ''}".strip()
    yield "data", f"{card.data['class_path']} {card.data['init_args']}"
    yield from facts.items()
    scored = [row for row in history if model.monitor in row]
    if scored:
        best, last = max(scored, key=lambda row: row[model.monitor]), scored[-1]
        yield f"best {model.monitor_label}", f"{best[model.monitor]:.2%} (epoch {best['epoch']:.0f})"
        yield f"last {model.monitor_label}", f"{last[model.monitor]:.2%} (epoch {last['epoch']:.0f})"
    if history:
        yield "training speed", f"{np.median([row['images_per_s'] for row in history]):.0f} images/s (median epoch)"
        yield "waiting for the loader", f"{np.median([row['loader_share'] for row in history]):.1%} of training time"
        yield "time in complete epochs", duration(sum(row["seconds"] for row in history))


def _epochs(model: TrainingModule, history: Sequence[dict[str, float]]) -> list[str]:
    if not history:
        return ["None is complete."]
    columns = ("epoch", *model.columns, "lr", "seconds")
    shown = history if len(history) <= 12 else [*history[:3], *history[-9:]]
    rows = [[f"{row[name]:.4g}" if name in row else "" for name in columns] for row in shown]
    note = [] if len(shown) == len(history) else ["", "The first three and the last nine; all are in metrics.csv."]
    return [*table(columns, rows), *note]


def _starts(sessions: Sequence[dict[str, Any]]) -> list[str]:
    rows = []
    for one in sessions:
        place = f"epoch {one['epoch'] + 1}" + (f", after batch {one['batch']}" if one["batch"] else "")
        rows.append([one["started"], one["host"], place, one["from"] or "new", "; ".join(one["changed"])])
    return table(("when", "where", "at", "from", "changed fields"), rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown, as lines."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(head), line(["---"] * len(head)), *map(line, rows)]
