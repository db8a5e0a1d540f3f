"""The two checkpoints of a run: the best epoch by validation, and the last."""

import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint

_AT_EPOCH_END: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}


class BestCheckpoint(ModelCheckpoint):
    """Keeps ``best.ckpt``, the epoch with the highest validation metric; of equal ones the first.

    Args:
        folder: The run folder.
        monitor: The metric.
    """

    def __init__(self, folder: Path, monitor: str) -> None:
        super().__init__(folder, filename="best", monitor=monitor, mode="max", **_AT_EPOCH_END)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """After a resume: take over the best epoch so far, where its file lies beside the checkpoint.

        Without that file the best is sought among the epochs from here on.
        """
        earlier, score = Path(state_dict["best_model_path"]), state_dict["best_model_score"]
        if score is None or self.dirpath is None or not earlier.is_file():
            return
        path = str(Path(self.dirpath) / earlier.name)
        Path(self.dirpath).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(earlier, path)
        self.best_model_path = self.kth_best_model_path = path
        self.best_model_score = self.kth_value = score.detach().to(torch.device("cpu"))
        self.best_k_models = {path: self.best_model_score}


class LastCheckpoint(ModelCheckpoint):
    """Keeps ``last.ckpt``, from which a run resumes.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, filename="last", **_AT_EPOCH_END)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A resumed run has its own last epoch, in its own folder."""
