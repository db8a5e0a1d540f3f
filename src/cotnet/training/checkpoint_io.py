"""How a checkpoint gets onto the disk and back: complete or not at all, with a checksum, and the one before is kept."""

import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from cotnet.files.atomic import replacing
from cotnet.files.checksum import write_with_checksum
from cotnet.files.weights import load_checkpoint

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the final name, syncs, then renames; reads only what matches its checksum, and runs nothing in it.

    A new ``last.ckpt`` moves the one before to ``previous.ckpt``.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: It could not be written; the checkpoints before are intact.
        """
        path = Path(path)
        if path.name not in (LAST, BEST):  # of a callback of the user's, in a folder that nobody has made yet
            path.parent.mkdir(parents=True, exist_ok=True)
        # In memory first: torch cannot tell why a write to a file failed.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            with replacing(path, durable=True) as partial:
                with partial.open("wb") as file:
                    write_with_checksum(file, content.getbuffer())
                    file.flush()
                    os.fsync(file.fileno())  # a full disk shows here, while last.ckpt still has its name
                if path.name == LAST and path.exists():
                    path.replace(path.with_name(PREVIOUS))
        except OSError as error:
            reason = f"{error.strerror}; the checkpoints before are intact: solve this and resume from them"
            raise OSError(error.errno, reason, str(path)) from error

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint's tensors and plain values.

        Raises:
            ValueError: It is damaged, or holds anything else.
        """
        return load_checkpoint(Path(path))
