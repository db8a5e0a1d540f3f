"""How an epoch goes: loss, top-1, images per second, and the share of time that training waits for the loader."""

import math
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import Profiler
from torch import Tensor


class LoaderClock(Profiler):
    """Adds up the time in which Lightning waits for the next training batch.

    Args:
        inner: The profiler that is asked for otherwise; it goes on as before.
    """

    def __init__(self, inner: Profiler) -> None:
        super().__init__()
        self.inner = inner
        self.waited_s = 0.0
        self._lightning_module: Any = None

    def start(self, action_name: str) -> None:
        if action_name.endswith("train_dataloader_next"):
            self._since = time.perf_counter()
        self.inner.start(action_name)

    def stop(self, action_name: str) -> None:
        self.inner.stop(action_name)
        if action_name.endswith("train_dataloader_next"):
            self.waited_s += time.perf_counter() - self._since

    def setup(self, *args: Any, **kwargs: Any) -> None:
        self.inner._lightning_module = self._lightning_module  # type: ignore[attr-defined]
        self.inner.setup(*args, **kwargs)

    def summary(self) -> str:
        return self.inner.summary()

    def describe(self) -> None:
        self.inner.describe()

    def teardown(self, stage: str | None) -> None:
        self.inner.teardown(stage)


class EpochMeter(Callback):
    """Means over the training batches of the epoch so far, of loss and, where steps give it, top-1.

    A resume inside an epoch goes on with them. Validation and the time between two runs do not count.

    Args:
        clock: Of the run's loader.

    Attributes:
        means: ``train_loss`` and ``train_top1`` of the last complete epoch, over all processes.
        scores: The ``val_`` metrics of the epoch's validation, which not every epoch may have.
    """

    def __init__(self, clock: LoaderClock) -> None:
        self.clock = clock
        self.means: dict[str, float] = {}
        self.scores: dict[str, float] = {}
        self.batches = 0
        self._sums: Tensor = torch.zeros(2)
        self._training_s = self._waiting_s = 0.0
        self._since = self._waited_before = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Learn how to take means over processes."""
        self._mean = trainer.strategy.reduce

    def state_dict(self) -> dict[str, Any]:
        """The sums so far, for every process the mean of all."""
        sums = self._mean(self._sums.clone(), reduce_op="mean")
        assert isinstance(sums, Tensor)
        return {
            "batches": self.batches,
            "sums": sums.tolist(),
            "training_s": self._training_s,
            "waiting_s": self._waiting_s,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the sums of the run before."""
        self.batches = state_dict["batches"]
        self._sums = torch.tensor(state_dict["sums"])
        self._training_s, self._waiting_s = state_dict["training_s"], state_dict["waiting_s"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; an epoch that is gone on with has no start of its own."""
        self._images = trainer.datamodule.batch_size * trainer.world_size  # type: ignore[attr-defined]
        self._sums = self._sums.to(pl_module.device)
        self._go_on()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self.batches, self.scores = 0, {}
        self._sums = torch.zeros(2, device=pl_module.device)
        self._training_s = self._waiting_s = 0.0
        self._go_on()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add a batch; the sums stay on their device."""
        self.batches += 1
        top1 = outputs.get("top1", outputs["loss"].new_full((), float("nan")))
        self._sums += torch.stack([outputs["loss"].detach().float(), top1.float()])
        now = time.perf_counter()
        self._training_s += now - self._since
        self._waiting_s += self.clock.waited_s - self._waited_before
        self._since, self._waited_before = now, self.clock.waited_s

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the scores; the clock goes on with the next batch."""
        # Lightning's own stay those of the last validation, however long ago it was.
        if not trainer.sanity_checking:
            self.scores = {name: float(x) for name, x in trainer.callback_metrics.items() if name.startswith("val_")}
        self._go_on()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the means of the epoch over all processes."""
        sums = self._mean(self._sums.clone(), reduce_op="mean")
        assert isinstance(sums, Tensor)
        loss, top1 = (sums / max(self.batches, 1)).tolist()
        self.means = {"train_loss": loss} | ({} if math.isnan(top1) else {"train_top1": top1})

    @property
    def top1(self) -> float:
        """Training top-1 of this process so far; not a number where there is none."""
        return float(self._sums[1]) / max(self.batches, 1)

    @property
    def images_per_s(self) -> float:
        """Training images per second, over all processes."""
        return self.batches * self._images / self._training_s if self._training_s else 0.0

    @property
    def loader_share(self) -> float:
        """Share of the training time that this process waits for its loader, 0 to 1."""
        return self._waiting_s / self._training_s if self._training_s else 0.0

    def _go_on(self) -> None:
        self._since, self._waited_before = time.perf_counter(), self.clock.waited_s
