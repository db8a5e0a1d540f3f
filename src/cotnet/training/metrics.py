"""What a run leaves in its folder beside the checkpoints: metrics, figures and weights."""

import csv
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from cotnet.files.atomic import replacing
from cotnet.files.weights import read_checkpoint, write_weights
from cotnet.training.checkpoints import BestCheckpoint
from cotnet.training.figures import draw_curves
from cotnet.training.module import TrainingModule
from cotnet.training.throughput import EpochMeter

_MEASURED = ("images_per_s", "loader_share", "seconds")


class Record(Callback):
    """Writes ``metrics.csv`` and the figures after every epoch, and the best epoch's weights at the end.

    A resumed run continues the rows of the run before.

    Args:
        folder: The run folder.
        best: Knows the checkpoint to take the weights from.
        meter: Measures the epoch.

    Attributes:
        history: One row per complete epoch.
        counts: `TrainingModule.counts` of the best epoch, or None.
        sessions: Each start of the run: when and where, and the epoch and batch it started at.
    """

    def __init__(self, folder: Path, best: BestCheckpoint, meter: EpochMeter) -> None:
        self.folder = folder
        self.best = best
        self.meter = meter
        self.history: list[dict[str, float]] = []
        self.counts: np.ndarray | None = None
        self.sessions: list[dict[str, Any]] = []
        self._written_score: float | None = None
        self._start = time.perf_counter()
        self._before_s = 0.0  # of the epoch, in the run before

    def state_dict(self) -> dict[str, Any]:
        """The run so far."""
        counts = None if self.counts is None else torch.from_numpy(self.counts).int()
        elapsed_s = self._before_s + time.perf_counter() - self._start
        return {"history": self.history, "confusion": counts, "sessions": self.sessions, "elapsed_s": elapsed_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the run before."""
        self.history = list(state_dict["history"])
        counts = state_dict["confusion"]
        self.counts = None if counts is None else counts.numpy()
        self.sessions = state_dict["sessions"] + self.sessions
        self._before_s = state_dict["elapsed_s"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of an epoch that a resume continues."""
        self._start = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        self._start, self._before_s = time.perf_counter(), 0.0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row, before the checkpoints are saved, so that they hold it."""
        assert isinstance(pl_module, TrainingModule)
        trained = {name: float(x) for name, x in trainer.callback_metrics.items() if not name.startswith("val_")}
        metrics = {**trained, **self.meter.means, **self.meter.scores}
        row = {"epoch": float(trainer.current_epoch + 1)}
        row |= {column: metrics[column] for column in (*pl_module.columns, "lr") if column in metrics}
        row["images_per_s"] = self.meter.images_per_s
        row["loader_share"] = self.meter.loader_share
        row["seconds"] = self._before_s + time.perf_counter() - self._start
        scores = [past[pl_module.monitor] for past in self.history if pl_module.monitor in past]
        better = pl_module.monitor in row and row[pl_module.monitor] > max(scores, default=-1.0)
        self.history.append(row)
        if better:
            self.counts = pl_module.counts
        if trainer.is_global_zero:
            self._write_metrics(("epoch", *pl_module.columns, "lr", *_MEASURED))
            draw_curves(self.history, pl_module.panels, self.folder / "curves.png")
            if better:
                pl_module.draw(self.folder)

    def write_weights(self) -> None:
        """Write the best epoch's weights, once the checkpoints are saved."""
        path = Path(self.best.best_model_path)
        if not path.is_file() or self.best.best_model_score is None:
            return
        score = float(self.best.best_model_score)
        if score == self._written_score:
            return
        entries, card = read_checkpoint(path)
        monitor = self.best.monitor
        assert monitor is not None
        row = next((row for row in reversed(self.history) if abs(row.get(monitor, -1) - score) < 1e-9), {})
        scores = {monitor: score} | {name: value for name, value in row.items() if name.startswith("val_")}
        write_weights(self.folder / "weights.safetensors", entries, replace(card, scores=scores))
        self._written_score = score

    def _write_metrics(self, columns: Sequence[str]) -> None:
        with replacing(self.folder / "metrics.csv") as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            for row in self.history:
                rounded = {name: float(f"{value:.6g}") for name, value in row.items()}
                writer.writerow({**rounded, "epoch": int(row["epoch"])})
