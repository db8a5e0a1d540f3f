"""``config.yaml`` of a run, and what a resume has changed in it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from cotnet.training.resume import Resume

CONFIG = "config.yaml"


class ConfigFile(Callback):
    """Puts ``config.yaml`` in its place when training begins, so that a run that is refused leaves the one before.

    Args:
        folder: The run folder.

    Attributes:
        changed: Fields that differ from those of the run that is gone on with, as ``field: old -> new``.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / CONFIG
        self.changed: list[str] = []

    @property
    def begun(self) -> bool:
        """Whether training has begun, in this process or in one that it has started."""
        return not self._new.exists()

    def write(self, write: Callable[[Path], None], resume: Resume | None) -> None:
        """Write the file beside its place, and say what a resume changes; for one process alone.

        Args:
            write: Writes the run's whole configuration to a path.
            resume: What the run goes on from, or None.
        """
        write(self._new)
        self.changed = [] if resume is None else changed_fields(resume.path.with_name(CONFIG), self._new)
        for line in self.changed:
            print(f"changed on the resume: {line}", flush=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The checkpoint has been taken over: what is configured now holds."""
        if trainer.is_global_zero:
            self._new.replace(self.path)

    def withdraw(self) -> None:
        """Leave nothing of a run that has not begun."""
        self._new.unlink(missing_ok=True)

    @property
    def _new(self) -> Path:
        return self.path.with_name(f"{CONFIG}.partial")


def changed_fields(before: Path, after: Path) -> list[str]:
    """Fields of two configurations that differ, as ``field: old -> new``; none where one of the files is missing."""
    if not before.is_file():
        return []
    old, new = (dict(_flat(yaml.safe_load(path.read_text("utf-8")))) for path in (before, after))
    ignored = ("ckpt_path", "runs")
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name) and name not in ignored)
    return [f"{name}: {old.get(name)} -> {new.get(name)}" for name in names]


def _flat(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(path, value)]
    return [pair for key, one in value.items() for pair in _flat(one, f"{path}.{key}" if path else str(key))]
