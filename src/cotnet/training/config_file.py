"""``config.yaml`` of a run, and what a resume has changed in it."""

from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from cotnet.training.resume import Resume

CONFIG = "config.yaml"


class ConfigFile(Callback):
    """Puts ``config.yaml`` in its place when training begins, so that a refused run leaves the one before as it was.

    Args:
        folder: The run folder.

    Attributes:
        changed: Fields that differ from those of the run that is resumed, as ``field: old -> new``.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / CONFIG
        self.changed: list[str] = []

    @property
    def begun(self) -> bool:
        """Whether training has begun, in this process or in one that was started by it."""
        return not self._new.exists()

    def write(self, text: str, resume: Resume | None) -> None:
        """Write the file beside its place, and print what a resume changes; in one process alone.

        Args:
            text: The run's whole configuration, as YAML.
            resume: What the run resumes from, or None.
        """
        self._new.write_text(text, "utf-8")
        self.changed = [] if resume is None else changed_fields(resume.path.with_name(CONFIG), self._new)
        for line in self.changed:
            print(f"changed on the resume: {line}", flush=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The checkpoint is loaded: the new configuration takes effect."""
        if trainer.is_global_zero:
            self._new.replace(self.path)

    def withdraw(self) -> None:
        """Remove the file of a run that has not begun."""
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
    # The level between a group and its fields is left out, as on the command line.
    inner = {key: path if key == "init_args" else f"{path}.{key}" if path else str(key) for key in value}
    return [pair for key, one in value.items() for pair in _flat(one, inner[key])]
