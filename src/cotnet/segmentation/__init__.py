"""Semantic segmentation: a class for each pixel."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cotnet.segmentation.network import create_segmenter

if TYPE_CHECKING:
    from cotnet.segmentation.module import Segmenter

# Loaded on first use: prediction needs no Lightning.
_MODULES = {"Segmenter": "module"}

__all__ = ["Segmenter", "create_segmenter"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"cotnet.segmentation.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
