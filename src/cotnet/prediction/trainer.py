"""Lightning's Trainer for a skip images that leaves nothing behind."""

import logging
import os
import warnings
from typing import Any

from lightning.pytorch import Trainer


def quiet_trainer(**options: Any) -> Trainer:
    """A Trainer without logger, checkpoints, progress bar and advice, in as many processes as torchrun has started."""
    warnings.filterwarnings("ignore", module=r"(lightning|torch|torchmetrics)\b.*")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return Trainer(
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,  # it repeats images; ours serve each once
        **_processes(),
        **options,
    )


def _processes() -> dict[str, Any]:
    """How many processes there are, by torchrun's environment; one without it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return {"devices": 1}
    here, machines = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["GROUP_WORLD_SIZE"])
    return {"devices": here, "num_nodes": machines, "strategy": "ddp" if here * machines > 1 else "auto"}
