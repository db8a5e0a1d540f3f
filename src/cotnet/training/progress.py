"""What a run prints: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from cotnet.training.module import TrainingModule
from cotnet.training.throughput import EpochMeter

_LINE_EVERY_S = 30.0  # where there is no bar, inside a long epoch


class Progress(Callback):
    """Shows loss, metrics, images per second, the share of time spent waiting for the loader, and the time left.

    Args:
        meter: Measures the epoch.
        terminal: Draw a live bar; None asks standard output whether it is a terminal.
    """

    def __init__(self, meter: EpochMeter, terminal: bool | None = None) -> None:
        self.meter = meter
        self.terminal = sys.stdout.isatty() if terminal is None else terminal
        self._bar: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock and, on a terminal, the bar."""
        assert trainer.max_epochs is not None
        self._per_epoch = int(trainer.num_training_batches)
        self._steps = self._per_epoch * (trainer.max_epochs - trainer.current_epoch)
        if self.meter.batches < self._per_epoch:  # resumed inside an epoch
            self._steps -= self.meter.batches
        self._done = 0
        self._start = self._printed = time.perf_counter()
        if self.terminal and trainer.is_global_zero:
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
            self._bar.start()
            self._task = self._bar.add_task("", total=self._steps, state="")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, or print a line where none was printed for a while."""
        self._done += 1
        now = time.perf_counter()
        if self._bar is None and now - self._printed < _LINE_EVERY_S:
            return
        loss = [f"loss {float(outputs['loss']):.3f}"]
        state = "  ".join([*loss, *_shown(pl_module, self.meter.running), self._speed(), f"{self._left(now)} left"])
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, description=epoch, state=state)
        elif trainer.is_global_zero:
            self._print(f"{epoch}  step {batch_idx + 1}/{self._per_epoch}  {state}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """One line for the epoch."""
        if not trainer.is_global_zero:
            return
        metrics = {**self.meter.means, **self.meter.scores}
        parts = [f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", f"loss {metrics['train_loss']:.3f}"]
        parts += [*_shown(pl_module, metrics), self._speed(), f"{self._left(time.perf_counter())} left"]
        self._print("  ".join(parts))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove the bar, however the run ended."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _speed(self) -> str:
        return f"{_rate(self.meter.images_per_s)}, {self.meter.loader_share:.0%} loading"

    def _left(self, now: float) -> str:
        return duration((now - self._start) / max(self._done, 1) * (self._steps - self._done))

    def _print(self, line: str) -> None:
        self._printed = time.perf_counter()
        if self._bar is not None:
            self._bar.console.print(line, highlight=False)
        else:
            print(line, flush=True)


def _shown(module: LightningModule, metrics: dict[str, float]) -> list[str]:
    assert isinstance(module, TrainingModule)
    return [f"{label} {form.format(metrics[name])}" for label, name, form in module.progress if name in metrics]


def _rate(images_per_s: float) -> str:
    return f"{images_per_s:.0f} images/s" if images_per_s >= 10 else f"{images_per_s:.1f} images/s"


def duration(seconds: float) -> str:
    """Seconds in words of at most two units, such as ``1 min 40 s``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
