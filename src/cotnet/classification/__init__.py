"""Networks that name images: what is trained, how it is loaded, and how it is scored."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cotnet.classification.module import Classifier

# Loaded on first use: prediction needs no Lightning.
_MODULES = {"Classifier": "module"}

__all__ = ["Classifier"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"cotnet.classification.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
