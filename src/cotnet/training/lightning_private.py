"""The private names of Lightning that training reaches for, each in one place and with a test of its own.

Every function says what no public name of Lightning gives.
"""

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.plugins import LayerSync
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import nn


def keep_buffers_apart(strategy: DDPStrategy) -> None:
    """Unless the user says otherwise, DDP must not copy the first process's buffers over those of the others."""
    strategy._ddp_kwargs.setdefault("broadcast_buffers", False)


def save_in_one_file(strategy: ModelParallelStrategy) -> None:
    """Gather a sharded state for a checkpoint that is one file."""
    strategy._save_distributed_checkpoint = False


def layer_sync(strategy: Strategy) -> LayerSync | None:
    """How ``sync_batchnorm`` replaces norms, None where it is not asked for or the strategy knows none."""
    return getattr(strategy, "_layer_sync", None)


def set_layer_sync(strategy: Strategy, sync: LayerSync) -> None:
    """Replace norms in another way."""
    strategy._layer_sync = sync  # type: ignore[attr-defined]


def validates_this_epoch(trainer: Trainer) -> bool:
    """Whether the epoch has a validation, by ``trainer.check_val_every_n_epoch``."""
    return trainer.fit_loop.epoch_loop._should_check_val_epoch()


def may_stop(trainer: Trainer) -> bool:
    """Whether the lower limits of epochs and steps allow the end that ``trainer.should_stop`` asks for."""
    return trainer.fit_loop._can_stop_early


def set_root_folder(trainer: Trainer, folder: str | Path) -> None:
    """Where the tuner puts the weights that it restores; the constructor's argument comes too early."""
    trainer._default_root_dir = str(folder)  # type: ignore[attr-defined]


def average_of(callback: WeightAveraging) -> nn.Module | None:
    """The moving average of the weights, None before there is one."""
    return callback._average_model


def module_of(profiler: Profiler) -> Any:
    """The module that the trainer has told a profiler of."""
    return getattr(profiler, "_lightning_module", None)


def set_module_of(profiler: Profiler, module: Any) -> None:
    """Tell a profiler of the module, as the trainer does."""
    profiler._lightning_module = module  # type: ignore[attr-defined]
