"""Lightning's Trainer for a pass over pictures that leaves nothing behind."""

import logging
import warnings
from typing import Any

from lightning.pytorch import Trainer


def quiet_trainer(**options: Any) -> Trainer:
    """A Trainer without logger, checkpoints, progress bar and advice."""
    warnings.filterwarnings("ignore", module=r"(lightning|torch|torchmetrics)\b.*")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **options
    )
