"""Semantic segmentation: a class for each pixel."""

from cotnet.segmentation.module import Segmenter
from cotnet.segmentation.network import create_segmenter

__all__ = ["Segmenter", "create_segmenter"]
