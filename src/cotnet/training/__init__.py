"""Training on Lightning, whatever the task: recipes, runs that resume bit for bit, and what they leave behind."""

from importlib import import_module
from typing import Any

# Loaded on first use: reading a recipe or printing help needs no Lightning.
_MODULES = {"RunResult": "run", "TrainingData": "protocol", "TrainingModule": "module", "run_recipe": "run"}

__all__ = ["RunResult", "TrainingData", "TrainingModule", "run_recipe"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"cotnet.training.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
