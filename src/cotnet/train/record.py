"""What a run leaves in its folder beside the checkpoints: metrics, curves, confusion matrix, weights."""

import csv
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from cotnet.models.weights_file import read_checkpoint, write_weights
from cotnet.train.checkpoints import BestCheckpoint
from cotnet.train.classifier import Classifier
from cotnet.train.plots import draw_confusion, draw_curves

COLUMNS = ("epoch", "train_loss", "train_top1", "val_loss", "val_top1", "val_top5", "lr", "images_per_s", "seconds")
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
        row = {"epoch": float(trainer.current_epoch + 1)}
        for column in COLUMNS[1:-2]:
            value = trainer.callback_metrics.get(_LOGGED.get(column, column))
            if value is not None:
                row[column] = float(value)
        row["images_per_s"] = images / (self._training_s or seconds)
        row["seconds"] = seconds
        self.history.append(row)
        if trainer.is_global_zero:
            self._write_metrics()
            draw_curves(self.history, self.folder / "curves.png")
            if "val_top1" in row and row["val_top1"] >= max(past.get("val_top1", 0.0) for past in self.history):
                self._draw_confusion(pl_module)

    def write_weights(self) -> None:
        """Write the best epoch's weights; call it after the checkpoints are saved."""
        path = Path(self.best.best_model_path)
        if not path.is_file() or self.best.best_model_score is None:
            return
        score = float(self.best.best_model_score)
        if score == self._written_score:
            return
        entries, card = read_checkpoint(path)
        row = next((row for row in reversed(self.history) if abs(row.get("val_top1", -1) - score) < 1e-9), {})
        known = ("val_top1", "val_top5", "val_loss")
        scores = {"val_top1": score} | {name: row[name] for name in known if name in row}
        write_weights(self.folder / "weights.safetensors", entries, replace(card, scores=scores))
        self._written_score = score

    def _write_metrics(self) -> None:
        partial = self.folder / "metrics.csv.partial"
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="")
            writer.writeheader()
            for row in self.history:
                rounded = {name: float(f"{value:.6g}") for name, value in row.items()}
                writer.writerow({**rounded, "epoch": int(row["epoch"])})
        partial.replace(self.folder / "metrics.csv")

    def _draw_confusion(self, module: LightningModule) -> None:
        assert isinstance(module, Classifier)
        assert module.card is not None
        counts = module.confusion.compute().cpu().numpy()
        draw_confusion(counts, module.card.class_names, self.folder / "confusion.png")
