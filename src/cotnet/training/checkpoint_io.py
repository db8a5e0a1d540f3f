"""How a checkpoint gets onto the disk: whole or not at all, with a checksum, and the one before is kept."""

import io
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from cotnet.files.checksum import write_with_checksum
from cotnet.files.weights import load_checkpoint

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the final name, syncs, then renames; reads only what matches its checksum, and runs nothing in it.

    A new ``last.ckpt`` moves the one before to ``previous.ckpt``.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: It could not be written; the checkpoints before are as they were.
        """
        path = Path(path)
        # In memory first: torch cannot tell why a write to a file failed.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        partial = path.with_name(f"{path.name}.partial")
        try:
            with partial.open("wb") as file:
                write_with_checksum(file, content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            reason = f"{error.strerror}; the checkpoints before are intact, resume from them when this is mended"
            raise OSError(error.errno, reason, str(path)) from error
        if path.name == LAST and path.exists():
            path.replace(path.with_name(PREVIOUS))
        partial.replace(path)
        _sync_folder(path.parent)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint's tensors and plain values.

        Raises:
            ValueError: It is damaged, or holds anything else.
        """
        return load_checkpoint(Path(path))


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
