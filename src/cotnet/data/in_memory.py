"""Small images held in memory, read and augmented a batch at a time: a fraction of the time of one by one."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from cotnet.data.datasets import ImageReader
from cotnet.data.samplers import Draw, random_numbers
from cotnet.data.transforms import Augment


class InMemoryDataset(Dataset[tuple[Tensor, int]]):
    """Labelled images, decoded and resized once.

    Args:
        pixels: uint8 [n, 3, H, W].
        labels: Class index of every image.
        name: What to call the image of an index.
        augment: ``pad_crop``, ``flip`` or ``none``, see `cotnet.data.transforms.train_transform`.
        mean: Mean of each channel, of values in 0..1.
        std: Standard deviation of each channel.
    """

    def __init__(
        self,
        pixels: Tensor,
        labels: Sequence[int],
        *,
        name: Callable[[int], str],
        augment: Augment,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        assert augment != "resized_crop"
        self.pixels, self.labels, self.name, self.augment = pixels, labels, name, augment
        self.scale = 1 / (255 * torch.tensor(std)).view(3, 1, 1)
        self.offset = -(torch.tensor(mean) / torch.tensor(std)).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: int | Draw) -> tuple[Tensor, int]:
        return self.__getitems__([draw])[0]

    def __getitems__(self, draws: Sequence[int | Draw]) -> list[tuple[Tensor, int]]:
        """A whole batch, which torch's loaders ask for where a data set has this method.

        A `Draw` in the first place brings the random numbers of the batch with it.
        """
        indices = [draw.image if isinstance(draw, Draw) else draw for draw in draws]
        with random_numbers(draws[0]) if isinstance(draws[0], Draw) else nullcontext():
            return self._get(indices)

    def _get(self, indices: list[int]) -> list[tuple[Tensor, int]]:
        batch = self.pixels[torch.tensor(indices)]
        if self.augment == "pad_crop":
            batch = flip(shift(batch, max(1, batch.shape[-1] // 8)), -1)
        elif self.augment == "flip":
            batch = flip(flip(batch, -1), -2)
        images = torch.addcmul(self.offset, batch.float(), self.scale)
        return [(image, int(self.labels[index])) for image, index in zip(images, indices, strict=True)]


def decode_all(read: ImageReader, count: int, resize: Callable[[Any], Image.Image], size: int) -> Tensor:
    """Every image through `resize` into one uint8 tensor [count, 3, size, size].

    Raises:
        ValueError: An image cannot be read; the message names it.
    """
    pixels = torch.empty(count, size, size, 3, dtype=torch.uint8)
    rows = pixels.numpy()
    for index in range(count):
        rows[index] = np.asarray(resize(read(index)))
    return pixels.permute(0, 3, 1, 2)


def shift(batch: Tensor, most: int) -> Tensor:
    """Each image of [n, C, H, W] moved by up to `most` pixels in both directions; black comes in."""
    n, _, height, width = batch.shape
    padded = torch.nn.functional.pad(batch, (most,) * 4)
    rows = torch.randint(2 * most + 1, (n, 1)) + torch.arange(height)
    columns = torch.randint(2 * most + 1, (n, 1)) + torch.arange(width)
    padded = padded.gather(2, rows[:, None, :, None].expand(-1, padded.shape[1], -1, padded.shape[3]))
    return padded.gather(3, columns[:, None, None, :].expand(-1, padded.shape[1], height, -1))


def flip(batch: Tensor, dim: int) -> Tensor:
    """Each image of [n, C, H, W] mirrored along `dim` with probability one half."""
    return torch.where(torch.rand(len(batch), 1, 1, 1) < 0.5, batch.flip(dim), batch)
