"""Images through a network, batch by batch: an iterator of answers in order, with memory that does not grow."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cotnet.files.image import UnreadableImageError
from cotnet.prediction.inputs import read_image
from cotnet.prediction.processes import gather, process_group, processes

Named = tuple[str, Any]  # what an image is called, and the image
Row = tuple[str, Any, str | None]


def stream(
    images: Iterable[Any],
    *,
    transform: Callable[[Image.Image], Tensor],
    answer: Callable[[list[Tensor]], Sequence[Any]],
    batch_size: int,
    num_workers: int,
    decoding: Mapping[str, Any] | None = None,
) -> Iterator[Row]:
    """Decode images, put them through a network, and give the answers in order.

    The images are iterated over once, while the answers are asked for. Processes that torchrun started take the batches
    in turn; rank zero gets all answers, the others none, but have to iterate, too.

    Args:
        images: As `read_image` takes them.
        transform: From an RGB image to the network's input.
        answer: From the inputs of a batch to plain answers, one for each.
        batch_size: Images at a time.
        num_workers: Processes that decode, where the images are paths.
        decoding: Further arguments of `cotnet.files.image.open_image`.

    Yields:
        What the image is called (its path, or ``image 3`` for the third of those in memory); its answer, or None; and
        a sentence that says why the image could not be read, or None.
    """
    members = processes()
    rounds = _rounds(_named(images), batch_size, members.rank, members.world_size)
    first = list(itertools.islice(rounds, max(num_workers, 1)))
    on_disk = all(isinstance(image, (str, Path)) for batch in first for _, image in batch)
    loader = DataLoader(
        _Reader(transform, decoding or {}),
        batch_sampler=itertools.chain(first, rounds),
        collate_fn=_as_it_is,
        num_workers=min(num_workers, len(first)) if on_disk and len(first) > 1 else 0,
    )
    with process_group(members):
        for batch in loader:
            inputs = [x for _, x in batch if isinstance(x, Tensor)]
            with torch.inference_mode():
                answers = iter(answer(inputs) if inputs else [])
            rows: list[Row] = [(n, next(answers), None) if isinstance(x, Tensor) else (n, None, x) for n, x in batch]
            for part in gather(rows, members):
                yield from part


def read_input(
    image: Any, transform: Callable[[Image.Image], Tensor], *, name: str | None = None, **decoding: Any
) -> Tensor | str:
    """What a transform makes of an image, or a sentence that says why the image cannot be read.

    Args:
        image: As `read_image` takes it.
        transform: From an RGB image to a tensor.
        name: Name of the image for that sentence; default its path.
        decoding: Further arguments of `cotnet.files.image.open_image`.
    """
    try:
        return transform(read_image(image, name=name, **decoding))
    except UnreadableImageError as error:
        return str(error)


class _Reader(Dataset[tuple[str, Tensor | str]]):
    """From an image to its input; its indices are the images themselves, so that only the main process lists them."""

    def __init__(self, transform: Callable[[Image.Image], Tensor], decoding: Mapping[str, Any]):
        self.transform, self.decoding = transform, decoding

    def __getitem__(self, named: Named) -> tuple[str, Tensor | str]:
        name, image = named
        return name, read_input(image, self.transform, name=name, **self.decoding)


def _named(images: Iterable[Any]) -> Iterator[Named]:
    for number, image in enumerate(images, 1):
        yield (str(image) if isinstance(image, (str, Path)) else f"image {number}"), image


def _rounds(named: Iterator[Named], batch_size: int, rank: int, world_size: int) -> Iterator[list[Named]]:
    """One process's batch of each round; empty where the last round has fewer batches than there are processes."""
    while True:
        batches = [list(itertools.islice(named, batch_size)) for _ in range(world_size)]
        if not batches[0]:
            return
        yield batches[rank]


def _as_it_is(batch: list[Any]) -> list[Any]:
    return batch
