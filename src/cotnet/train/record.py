"""What a run leaves in its folder beside the checkpoints: metrics, curves, pictures, weights."""

import csv
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from cotnet.models.weights_file import read_checkpoint, write_weights
from cotnet.train.checkpoints import BestCheckpoint
from cotnet.train.module import TrainingModule
from cotnet.train.plots import draw_curves

_LOGGED = {"train_loss": "train_loss_epoch"}


class Record(Callback):
    """Writes ``metrics.csv`` and the pictures after every epoch, ``weights.safetensors`` after every better one.

    A resumed run goes on with the rows of the run before.

    Args:
        folder: The run folder.
        best: Says which checkpoint to take the weights from.
    """

    def __init__(self, folder: Path, best: BestCheckpoint) -> None:
        self.folder = folder
        self.best = best
        self.history: list[dict[str, float]] = []
        self._written_score: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the rows of the run before."""
        self.history = list(state_dict["history"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        self._start = time.perf_counter()
        self._training_s: float | None = None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock of the training steps; validation is not part of images per second."""
        if not trainer.sanity_checking:
            self._training_s = time.perf_counter() - self._start

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row; runs before the checkpoints are saved, so that they hold it."""
        seconds = time.perf_counter() - self._start
        images = int(trainer.num_training_batches) * trainer.datamodule.batch_size * trainer.world_size  # type: ignore[attr-defined]
        assert isinstance(pl_module, TrainingModule)
        row = {"epoch": float(trainer.current_epoch + 1)}
        for column in (*pl_module.columns, "lr"):
            value = trainer.callback_metrics.get(_LOGGED.get(column, column))
            if value is not None:
                row[column] = float(value)
        row["images_per_s"] = images / (self._training_s or seconds)
        row["seconds"] = seconds
        self.history.append(row)
        if trainer.is_global_zero:
            self._write_metrics(("epoch", *pl_module.columns, "lr", "images_per_s", "seconds"))
            draw_curves(self.history, pl_module.panels, self.folder / "curves.png")
            scores = [past[pl_module.monitor] for past in self.history if pl_module.monitor in past]
            if pl_module.monitor in row and row[pl_module.monitor] >= max(scores):
                pl_module.draw(self.folder)

    def write_weights(self) -> None:
        """Write the best epoch's weights; call it after the checkpoints are saved."""
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
        partial = self.folder / "metrics.csv.partial"
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            for row in self.history:
                rounded = {name: float(f"{value:.6g}") for name, value in row.items()}
                writer.writerow({**rounded, "epoch": int(row["epoch"])})
        partial.replace(self.folder / "metrics.csv")
