"""Images that are numbers, to see which are served and what is drawn for each."""

import random

import numpy as np
import torch

from cotnet.files.image import UnreadableImageError


class Numbers:
    """Images that are their own index; some cannot be read."""

    def __init__(self, *broken):
        self.broken = broken
        self.read = []

    def __call__(self, index):
        if index in self.broken:
            raise UnreadableImageError(f"{index} is broken")
        self.read.append(index)
        return index

    def name(self, index):
        return f"number {index}"


def noisy(index):
    """An augmentation that draws from all three generators."""
    return torch.tensor([index, random.random(), np.random.rand(), torch.rand(()).item()], dtype=torch.float64)
