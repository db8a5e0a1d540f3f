"""Random numbers that depend on seed and epoch alone, so that a resumed run draws what an unbroken one draws."""

from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything


class EpochSeeds(Callback):
    """Seeds Python, NumPy and torch anew at the start of every epoch.

    Args:
        seed: The run's seed; epoch e draws from ``seed + e``.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seed_everything((self.seed + trainer.current_epoch) % 2**32, workers=True, verbose=False)
