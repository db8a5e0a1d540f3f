"""A loss or a state that is not finite stops the run, and the batch that it comes from is named."""

from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.distributed.tensor import DTensor

from cotnet.training.protocol import data_of

FAILED_BATCH = "failed_batch.txt"
_LISTED = 6  # images in a message; the file has all of them


class FiniteLoss(Callback):
    """Stops the run when a loss or the network's state is not finite.

    A loss is looked at one step later, when it has been computed anyway, so that an accelerator is not waited for.

    Args:
        folder: The run folder; the names of the batch's images are left in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pending: tuple[Tensor, int, int, int, float] | None = None

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Look at the loss of the step before, and keep this one."""
        self.check(trainer)
        rate = trainer.optimizers[0].param_groups[-1]["lr"]
        batch = trainer.fit_loop.epoch_loop.batch_idx
        self._pending = loss.detach(), trainer.global_step + 1, trainer.current_epoch, batch, rate

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the last loss of the epoch and at what comes of it, before any checkpoint is written."""
        self.check_state(trainer, pl_module)

    def check(self, trainer: Trainer) -> None:
        """Look at the loss that was kept.

        Raises:
            ValueError: It is not finite; the message has step, learning rate and images.
        """
        if self._pending is None:
            return
        loss, step, epoch, batch, rate = self._pending
        self._pending = None
        if not torch.isfinite(loss):
            value = float(loss) * trainer.accumulate_grad_batches
            self._stop(trainer, f"the loss is {value} at step {step}", epoch, batch, rate)

    def check_state(self, trainer: Trainer, module: LightningModule) -> None:
        """Look at everything that is about to be saved.

        Raises:
            ValueError: A weight or a statistic is not finite.
        """
        self.check(trainer)
        state = [value.detach() for value in (*module.parameters(), *module.buffers()) if value.is_floating_point()]
        local = [value.to_local() if isinstance(value, DTensor) else value for value in state]  # FSDP shards them
        if not torch.stack([torch.isfinite(value).all() for value in local]).all():
            rate = trainer.optimizers[0].param_groups[-1]["lr"]
            batch = trainer.fit_loop.epoch_loop.batch_idx
            what = f"the network's state is not finite after step {trainer.global_step}"
            self._stop(trainer, what, trainer.current_epoch, batch, rate)

    def _stop(self, trainer: Trainer, what: str, epoch: int, batch: int, rate: float) -> None:
        where = f"epoch {epoch + 1}, batch {batch + 1}, learning rate {rate:.4g}"
        names = data_of(trainer).batch_names(epoch, batch)
        path = self.folder / (FAILED_BATCH if trainer.world_size == 1 else f"rank{trainer.global_rank}_{FAILED_BATCH}")
        self.folder.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([f"{what} ({where})", *names]) + "\n", errors="surrogateescape")
        listed = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
        listed = listed or "unknown"
        raise ValueError(
            f"{what} ({where}); images of the batch: {listed}; all are in {path}. The checkpoints before are kept: "
            "try a lower --model.base_lr, or trainer.precision 32-true"
        )
