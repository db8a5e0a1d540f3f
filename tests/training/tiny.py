"""A run of seconds: a tiny network, two epochs of six steps, everything random that there is."""

from pathlib import Path
from typing import Any

import torch

from cotnet.files.weights import load_checkpoint

TINY = ["--model.name", "cotnet_nano", "--model.warmup_epochs", "0", "--model.drop_rate", "0.1", "--data.size", "8"]
TINY += ["--data.train_per_class", "6", "--data.val_per_class", "1", "--data.batch_size", "14"]
TINY += ["--data.augment", "pad_crop", "--model.mixup", "0.2", "--model.ema_decay", "0.9", "--trainer.max_epochs", "2"]


def final_state(folder: Path) -> dict[str, Any]:
    """Weights, average, momenta and rows of a finished run; the clock's columns aside."""
    content = load_checkpoint(folder / "last.ckpt")
    momenta = [state["momentum_buffer"] for state in content["optimizer_states"][0]["state"].values()]
    rows = content["callbacks"]["Record"]["history"]
    timeless = [{name: row[name] for name in row if name[-2:] != "_s" and name != "loader_share"} for row in rows]
    for row in timeless:
        row.pop("seconds")
    return {
        "tensors": [*content["state_dict"].values(), *content["current_model_state"].values(), *momenta],
        "rows": timeless,
    }


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Bit for bit."""
    pairs = zip(one["tensors"], other["tensors"], strict=True)
    return all(torch.equal(a, b) for a, b in pairs) and one["rows"] == other["rows"]
