"""How an epoch goes: mean loss and metrics, images per second, and the share of time spent waiting for the loader."""

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import Profiler
from torch import Tensor

from cotnet.training.lightning_private import module_of, set_module_of
from cotnet.training.module import TrainingModule
from cotnet.training.protocol import data_of


class LoaderClock(Profiler):
    """Adds up the time in which Lightning waits for the next training batch.

    Args:
        inner: The profiler that the user asked for; it works as before.

    Attributes:
        waited_s: Seconds so far.
    """

    def __init__(self, inner: Profiler) -> None:
        super().__init__()
        self.inner = inner
        self.waited_s = 0.0

    def start(self, action_name: str) -> None:
        if action_name.endswith("train_dataloader_next"):
            self._since = time.perf_counter()
        self.inner.start(action_name)

    def stop(self, action_name: str) -> None:
        self.inner.stop(action_name)
        if action_name.endswith("train_dataloader_next"):
            self.waited_s += time.perf_counter() - self._since

    def setup(self, *args: Any, **kwargs: Any) -> None:
        set_module_of(self.inner, module_of(self))
        self.inner.setup(*args, **kwargs)

    def summary(self) -> str:
        return self.inner.summary()

    def describe(self) -> None:
        self.inner.describe()

    def teardown(self, stage: str | None) -> None:
        self.inner.teardown(stage)


class EpochMeter(Callback):
    """Means over the training batches of the epoch so far, of the loss and of the module's `step_metrics`.

    A resume inside an epoch continues them. Validation and the time between two runs do not count.

    Args:
        clock: Of the run's loader.

    Attributes:
        batches: Of the epoch so far.
        means: ``train_loss`` and the like of the last complete epoch, over all processes.
        scores: The ``val_`` metrics of the epoch's validation, which not every epoch may have.
    """

    def __init__(self, clock: LoaderClock) -> None:
        self.clock = clock
        self.means: dict[str, float] = {}
        self.scores: dict[str, float] = {}
        self.batches = 0
        self._names: tuple[str, ...] = ("loss",)
        self._sums: Tensor = torch.zeros(1)
        self._training_s = self._waiting_s = 0.0
        self._since = self._waited_before = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Learn what is measured, and how to take means over processes."""
        assert isinstance(pl_module, TrainingModule)
        self._mean = trainer.strategy.reduce
        self._names = ("loss", *pl_module.step_metrics)
        self._sums = torch.zeros(len(self._names))

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
        """Continue the sums of the run before."""
        self.batches = state_dict["batches"]
        self._sums = torch.tensor(state_dict["sums"])
        self._training_s, self._waiting_s = state_dict["training_s"], state_dict["waiting_s"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; an epoch that a resume continues has no start of its own."""
        self._images = data_of(trainer).batch_size * trainer.world_size
        self._sums = self._sums.to(pl_module.device)
        self._start_clock()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self.batches, self.scores = 0, {}
        self._sums = torch.zeros(len(self._names), device=pl_module.device)
        self._training_s = self._waiting_s = 0.0
        self._start_clock()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add a batch; the sums stay on their device."""
        self.batches += 1
        self._sums += torch.stack([outputs[name].detach().float() for name in self._names])
        now = time.perf_counter()
        self._training_s += now - self._since
        self._waiting_s += self.clock.waited_s - self._waited_before
        self._since, self._waited_before = now, self.clock.waited_s

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the scores, and restart the clock for the next batch."""
        # Lightning keeps those of the last validation, however long ago it was.
        if not trainer.sanity_checking:
            self.scores = {name: float(x) for name, x in trainer.callback_metrics.items() if name.startswith("val_")}
        self._start_clock()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the means of the epoch over all processes."""
        sums = self._mean(self._sums.clone(), reduce_op="mean")
        assert isinstance(sums, Tensor)
        self.means = self._named(sums)

    @property
    def running(self) -> dict[str, float]:
        """Means of this process over the epoch so far, named as in `means`."""
        return self._named(self._sums)

    @property
    def images_per_s(self) -> float:
        """Training images per second, over all processes."""
        return self.batches * self._images / self._training_s if self._training_s else 0.0

    @property
    def loader_share(self) -> float:
        """Share of the training time that this process waits for its loader, 0 to 1."""
        return self._waiting_s / self._training_s if self._training_s else 0.0

    def _named(self, sums: Tensor) -> dict[str, float]:
        means = (sums / max(self.batches, 1)).tolist()
        return {f"train_{name}": mean for name, mean in zip(self._names, means, strict=True)}

    def _start_clock(self) -> None:
        self._since, self._waited_before = time.perf_counter(), self.clock.waited_s
