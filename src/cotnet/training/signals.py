"""A signal that asks for the end of a run is remembered until the state can be saved."""

import signal
import threading
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class StopSignals(Callback):
    """Remembers SIGTERM, and the first SIGINT, until the state can be saved; a second SIGINT interrupts at once.

    Attributes:
        received: The signal's number, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the place of Lightning's handler, which would also stop between two accumulated batches.

        Lightning restores the handlers from before the run when it ends.
        """
        if trainer.received_sigterm:
            self.received = signal.SIGTERM
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._receive)
            signal.signal(signal.SIGINT, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> Any:
        if number == signal.SIGINT and self.received is not None:
            raise KeyboardInterrupt
        self.received = number
