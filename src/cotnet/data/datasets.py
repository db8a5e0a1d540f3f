"""Labelled tensors from images: decoded one at a time, or all at once into memory."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from cotnet.data.readers import ImageReader
from cotnet.data.samplers import Draw, random_numbers
from cotnet.data.transforms import Augment
from cotnet.data.unreadable import UnreadableImages
from cotnet.files.image import UnreadableImageError


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """Labelled images, decoded when they are asked for.

    Args:
        read: Gives the image of an index.
        labels: Class index of every image.
        transform: Makes the network's input [3, H, W] of an image.
        tolerated: The number of unreadable images to tolerate. In training the next readable image, with its own
            label, takes the place of an unreadable one.

    Attributes:
        unreadable: The images that are skipped.
    """

    def __init__(
        self,
        read: ImageReader,
        labels: Sequence[int],
        transform: Callable[[Any], Tensor],
        *,
        tolerated: int = 0,
    ) -> None:
        self.read = read
        self.labels = labels
        self.transform = transform
        self.unreadable = UnreadableImages(len(labels), tolerated=tolerated)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: int | Draw) -> tuple[Tensor, int]:
        """An image and its label; a `Draw` brings the random numbers with it."""
        if isinstance(draw, Draw):
            with random_numbers(draw):
                return self._get_or_next(draw.image)
        return self._get(draw)

    def name(self, index: int) -> str:
        """The name of an image in messages and reports."""
        return self.read.name(index)

    def _get(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.read(index)), int(self.labels[index])

    def _get_or_next(self, index: int) -> tuple[Tensor, int]:
        while True:
            if index not in self.unreadable:
                try:
                    return self._get(index)
                except UnreadableImageError as error:
                    self.unreadable.skip(index, error)
            index = (index + 1) % len(self)


class InMemoryDataset(Dataset[tuple[Tensor, int]]):
    """Small labelled images, decoded and resized once; read and augmented a batch at a time, which is much faster.

    Args:
        pixels: uint8 [N, 3, H, W].
        labels: Class index of every image.
        name: Gives the name of an image by its index.
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

        The first `Draw` decides the random numbers of the whole batch.
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
    """Every image through ``resize`` into one uint8 tensor [count, 3, size, size].

    Raises:
        UnreadableImageError: An image cannot be read; the message names it.
    """
    pixels = torch.empty(count, size, size, 3, dtype=torch.uint8)
    rows = pixels.numpy()
    for index in range(count):
        rows[index] = np.asarray(resize(read(index)))
    return pixels.permute(0, 3, 1, 2)


def shift(batch: Tensor, limit: int) -> Tensor:
    """Each image of [N, C, H, W] moved by up to ``limit`` pixels in both directions; black comes in."""
    n, _, height, width = batch.shape
    padded = torch.nn.functional.pad(batch, (limit,) * 4)
    rows = torch.randint(2 * limit + 1, (n, 1)) + torch.arange(height)
    columns = torch.randint(2 * limit + 1, (n, 1)) + torch.arange(width)
    padded = padded.gather(2, rows[:, None, :, None].expand(-1, padded.shape[1], -1, padded.shape[3]))
    return padded.gather(3, columns[:, None, None, :].expand(-1, padded.shape[1], height, -1))


def flip(batch: Tensor, dim: int) -> Tensor:
    """Each image of [N, C, H, W] mirrored along ``dim`` with probability one half."""
    return torch.where(torch.rand(len(batch), 1, 1, 1) < 0.5, batch.flip(dim), batch)
