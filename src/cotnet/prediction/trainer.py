"""Lightning's Trainer for a pass over images that leaves nothing behind."""

import logging
import warnings
from typing import Any

from lightning.pytorch import Trainer

from cotnet.prediction.processes import processes


def quiet_trainer(**options: Any) -> Trainer:
    """A Trainer without logger, checkpoints, progress bar and advice, in as many processes as torchrun has started."""
    warnings.filterwarnings("ignore", module=r"(lightning|torch|torchmetrics)\b.*")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    members = processes()
    return Trainer(
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,  # it repeats images; ours serve each once
        devices=members.local_world_size,
        num_nodes=members.machines,
        strategy="ddp" if members.local_world_size * members.machines > 1 else "auto",
        **options,
    )
