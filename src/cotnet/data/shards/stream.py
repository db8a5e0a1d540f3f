"""Images streamed from tar shards: divided by process and loader worker, reshuffled every epoch, from any batch on."""

import random
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from cotnet.data.samplers import Draw, random_numbers
from cotnet.data.shards.index import Portion, Shard, portion
from cotnet.data.unreadable import UnreadableImages
from cotnet.files.image import UnreadableImageError, open_image

Named = tuple[Tensor, int, str]


class ShardStream(IterableDataset[Named]):
    """The images of one process, with label and name; the workers of a loader divide them among themselves.

    For training each process serves ``batches`` whole batches an epoch: where its shards hold fewer images they begin
    again. For validation every image is served once over all processes.

    Args:
        shards: All shards of the split.
        locate: Gives the path or URL of a shard by its name.
        classes: Number of classes.
        transform: Makes the network's input [3, H, W] of an image.
        batch_size: Images per batch.
        decoding: Arguments of `cotnet.files.image.open_image`.
        world_size: Number of processes.
        rank: Number of this process, from 0.
        unreadable: Images to skip, by their number in the split; in training the next image of the stream takes the
            place of a skipped one.
        batches: Batches of this process in an epoch, for training; None for validation.
        shuffle: Number of images among which the next one is drawn; 0 keeps the order.
        seed: Seed of the order of shards and images.
        fixed: Whether every epoch has the order of the first one; what augmentation draws still differs.
    """

    def __init__(
        self,
        shards: list[Shard],
        locate: Callable[[str], str],
        *,
        classes: int,
        transform: Callable[[Any], Tensor],
        batch_size: int,
        decoding: Mapping[str, Any],
        world_size: int,
        rank: int,
        unreadable: UnreadableImages,
        batches: int | None = None,
        shuffle: int = 0,
        seed: int = 0,
        fixed: bool = False,
    ) -> None:
        self.shards, self.locate, self.classes, self.transform = shards, locate, classes, transform
        self.batch_size, self.world_size, self.rank = batch_size, world_size, rank
        self.batches, self.shuffle, self.seed, self.fixed = batches, shuffle, seed, fixed
        self.unreadable, self.decoding = unreadable, decoding
        self.offsets = list(accumulate((shard.images for shard in shards), initial=0))
        # Shared, because the copies of a stream in persistent workers outlive an epoch: epoch, batches to skip.
        self._start = torch.zeros(2, dtype=torch.int64).share_memory_()

    def start(self, *, epoch: int, batch: int = 0) -> None:
        """Set what the next iteration serves: an epoch, from a batch on."""
        self._start[0], self._start[1] = epoch, batch

    def batches_of(self, num_workers: int) -> int:
        """Number of batches that a loader with ``num_workers`` serves; 0 loads in the process itself."""
        if self.batches is not None:
            return self.batches
        readers = max(num_workers, 1)
        return sum(-(-self._portion(0, readers, worker).images // self.batch_size) for worker in range(readers))

    def __iter__(self) -> Iterator[Named]:
        info = get_worker_info()
        num_workers, worker = (1, 0) if info is None else (info.num_workers, info.id)
        epoch, done = (int(value) for value in self._start)
        if self.batches is None:
            yield from filter(None, map(self._labelled_or_none, self._samples(0, num_workers, worker)))
            return
        # A loader takes its batches from the workers in turn, beginning with the first one, which after a resume takes
        # the part of the worker whose turn it is.
        worker = (worker + done) % num_workers
        count = len(range(worker, self.batches, num_workers)) * self.batch_size
        served = len(range(worker, done, num_workers)) * self.batch_size
        first = (self.rank * num_workers + worker) * self.batches * self.batch_size  # numbers of no other reader
        order = 0 if self.fixed else epoch
        draw = random.Random(f"{self.seed} {order} {self.rank} {worker}")
        number = failures = 0
        limit = 2 * self._portion(order, num_workers, worker).images  # so many in a row include every image
        for sample in self._repeated(order, num_workers, worker, draw):
            if number >= count:
                return
            if number < served:  # served before a resume: read, but not decoded
                number += sample["__index__"] not in self.unreadable
                continue
            with random_numbers(Draw(first + number, self.seed, epoch)):
                labelled = self._labelled_or_none(sample)
            if labelled is not None:
                number, failures = number + 1, 0
                yield labelled
            elif (failures := failures + 1) == limit:
                raise ValueError(f"no image can be read in the shards of one reader, such as {sample['__url__']}")

    def _repeated(self, epoch: int, num_workers: int, worker: int, draw: random.Random) -> Iterator[dict[str, Any]]:
        while True:  # every image of this reader once before any of them again
            yield from self._shuffled(self._samples(epoch, num_workers, worker), draw)

    def _shuffled(self, samples: Iterator[dict[str, Any]], draw: random.Random) -> Iterator[dict[str, Any]]:
        """Serve from a buffer: an image at random, whose place the next one takes."""
        buffer: list[dict[str, Any]] = []
        for sample in samples:
            if len(buffer) < self.shuffle:
                buffer.append(sample)
            elif buffer:
                place = draw.randrange(len(buffer))
                yield buffer[place]
                buffer[place] = sample
            else:
                yield sample
        draw.shuffle(buffer)
        yield from buffer

    def _portion(self, epoch: int, num_workers: int, worker: int) -> Portion:
        order = list(range(len(self.shards)))
        if self.batches is not None:
            random.Random(f"{self.seed} {epoch}").shuffle(order)
        counts = [shard.images for shard in self.shards]
        return portion(counts, order, readers=self.world_size * num_workers, reader=self.rank * num_workers + worker)

    def _samples(self, epoch: int, num_workers: int, worker: int) -> Iterator[dict[str, Any]]:
        part = self._portion(epoch, num_workers, worker)
        position = 0
        for number in part.shards:
            shard, count = self.shards[number], 0
            for sample in read_shard(self.locate(shard.name)):
                if position % part.step == part.first and count < shard.images:
                    yield {**sample, "__index__": self.offsets[number] + count}
                position += 1
                count += 1
            if count != shard.images:
                raise ValueError(f"shard {shard.name} holds {count} images, its index says {shard.images}")

    def _labelled_or_none(self, sample: dict[str, Any]) -> Named | None:
        if sample["__index__"] in self.unreadable:
            return None
        try:
            return self._labelled(sample)
        except UnreadableImageError as error:
            self.unreadable.skip(sample["__index__"], error)
            return None

    def _labelled(self, sample: dict[str, Any]) -> Named:
        name = name_of(sample)
        content = next((value for key, value in sample.items() if key != "cls" and not key.startswith("__")), None)
        text = sample.get("cls", b"").decode(errors="replace").strip()
        if content is None or not text.isdecimal() or int(text) >= self.classes:
            raise ValueError(f"{name} must hold an image and a class from 0 to {self.classes - 1}, got class {text!r}")
        return self.transform(open_image(content, name=name, **self.decoding)), int(text), name


def name_of(sample: dict[str, Any]) -> str:
    """The name of an image in messages: its key and its shard."""
    return f"{sample['__key__']} of {sample['__url__']}"


def read_shard(url: str) -> Generator[dict[str, Any], None, None]:
    """The samples of a tar file one after the other, as bytes by suffix.

    Args:
        url: A path, ``pipe:COMMAND``, ``http(s)://``, or anything else that webdataset or fsspec opens.

    Raises:
        ValueError: The file cannot be read to its end; the message names it.
    """
    from webdataset.tariterators import group_by_keys, tar_file_iterator

    try:
        with closing(open_url(url)) as stream:
            files = tar_file_iterator(stream)
            yield from group_by_keys({**file, "__url__": url} for file in files)
    except GeneratorExit:
        raise
    # Errors of a network, a command or a damaged archive have no common class.
    except Exception as error:
        raise ValueError(
            f"cannot read the shard {url}: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error


def open_url(url: str) -> Any:
    """Open a path or URL for reading: webdataset's schemes first, then those of fsspec."""
    from webdataset.gopen import gopen, gopen_schemes

    scheme = url.split(":", 1)[0] if ":" in url else ""
    if scheme in ("", "file") or scheme in gopen_schemes:
        return gopen(url)
    import fsspec

    return fsspec.open(url, "rb").open()
