"""Tar shards from a disk, a command, the web or an object store, as `cotnet shards` or webdataset write them."""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from cotnet.data.base import check_at_least
from cotnet.data.module import ImageDataModule, Labelled
from cotnet.data.shards.index import INDEX, ShardIndex
from cotnet.data.shards.stream import ShardStream, name_of, open_url, read_shard
from cotnet.data.transforms import Transform
from cotnet.data.unreadable import UnreadableImages


class WebShards(ImageDataModule):
    """Images in tar shards with the index of `cotnet shards`, read one after the other and never unpacked.

    Args:
        root: Folder or URL that holds ``index.json``, such as ``shards``, ``https://host/shards`` or
            ``s3://bucket/shards`` (through fsspec and its package for that store).
        url: Path or URL of a shard that is not beside the index, with ``{name}`` for its file name, such as
            ``pipe:curl -s https://host/{name}``.
        shuffle: Number of images in memory per loader process, among which the next one is drawn.
        options: See `ImageDataModule`; ``in_memory`` is not possible.

    Raises:
        ValueError: A number is outside its range; on use: the index or a shard is missing or damaged.
    """

    def __init__(
        self,
        root: str,
        *,
        url: str | None = None,
        shuffle: int = 1000,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_at_least(shuffle=(shuffle, 0))
        if self.in_memory:
            raise ValueError("data.in_memory does not go with shards, which are streamed; use --data.in_memory false")
        if url is not None and "{name}" not in url:
            raise ValueError(f"data.url must hold {{name}} in the place of a shard's file name, got {url!r}")
        self.root = root.rstrip("/")
        self.url = url
        self.shuffle = shuffle

    @property
    def source(self) -> dict[str, Any]:
        root = self.root if ":" in self.root else str(Path(self.root).absolute())
        return {"root": root} if self.url is None else {"root": root, "url": self.url}

    @property
    def order_fields(self) -> dict[str, Any]:
        return {"url": None, **self.source, "shuffle": self.shuffle, "num_workers": self.num_workers}

    @property
    def class_names(self) -> list[str]:
        return self.index.classes

    @property
    def synsets(self) -> list[str] | None:
        return self.index.synsets

    @cached_property
    def index(self) -> ShardIndex:
        """The index, read once."""
        place = f"{self.root}/{INDEX}"
        try:
            with open_url(place) as file:
                content = file.read()
        # Errors of a disk, a network or a store have no common class.
        except Exception as error:
            raise ValueError(f"cannot read {place} ({error}); `cotnet shards` writes it beside its shards") from error
        return ShardIndex.from_json(content, name=place)

    def locate(self, name: str) -> str:
        """Path or URL of a shard."""
        return f"{self.root}/{name}" if self.url is None else self.url.replace("{name}", name)

    def make_train_set(self) -> "Split":
        return Split(self, "train", self.train_transform())

    def make_val_set(self) -> "Split":
        return Split(self, "val", self.eval_transform())

    def check_batch(self) -> None:
        """Raise `ValueError` where there are fewer training images than a batch for every process, or than workers."""
        super().check_batch()
        count = len(self.train_set)
        if count < self.num_workers * self.world_size:
            raise ValueError(
                f"data.num_workers {self.num_workers} in each of {self.world_size} processes is more than the {count} "
                f"training images; use --data.num_workers {count // self.world_size} or less"
            )

    def check_images(self) -> None:
        """Open the first shard of each split and decode its first image; the rest is checked as it is read."""
        for split in (self.train_set, self.val_set):
            next(iter(split.stream(batches=1)))

    def train_dataloader(self) -> "StreamLoader":
        batches = len(self.train_set) // (self.batch_size * self.world_size)
        options = {"shuffle": self.shuffle, "seed": self.seed, "fixed": self.overfit}
        stream = self.train_set.stream(batches=batches, world_size=self.world_size, rank=self.rank, **options)
        self._streamed = self.stream_loader(stream, lambda: 0 if self.trainer is None else self.trainer.current_epoch)
        return self._streamed

    def batch_names(self, epoch: int, batch: int) -> list[str]:
        """Names of the images in a training batch of this process, one of the last few that were streamed."""
        return self._streamed.names.get(batch, [])

    def val_dataloader(self) -> "StreamLoader":
        """Every image once over all processes, in the order of the shards."""
        return self.stream_loader(self.val_set.stream(world_size=self.world_size, rank=self.rank), lambda: 0)

    def train_images(self) -> Labelled:
        raise ValueError("shards are streamed and do not give single images")

    val_images = train_images

    def stream_loader(self, stream: ShardStream, epoch: Callable[[], int]) -> "StreamLoader":
        """A loader of a stream, see `StreamLoader`."""
        return StreamLoader(stream, epoch, **self.loader_options())


class Split:
    """The images of a split, known by their number until they are streamed."""

    def __init__(self, data: WebShards, split: str, transform: Transform) -> None:
        if split not in data.index.splits:
            raise ValueError(f"{data.root} has no shards for {split}; it has {', '.join(data.index.splits)}")
        self.data, self.split, self.transform = data, split, transform
        self.unreadable = UnreadableImages(len(self), tolerated=data.skip_unreadable)

    def __len__(self) -> int:
        return self.data.index.images(self.split)

    def name(self, index: int) -> str:
        """Key and shard of an image: the shard is read up to it, and if that fails, its number replaces the key."""
        number, shards = index, iter(self.data.index.splits[self.split])
        while number >= (shard := next(shards)).images:
            number -= shard.images
        url = self.data.locate(shard.name)
        try:
            with closing(read_shard(url)) as samples:
                return name_of(next(islice(samples, number, None)))
        except (ValueError, StopIteration):
            return f"number {number} of {url}"

    def stream(self, *, world_size: int = 1, rank: int = 0, **options: Any) -> ShardStream:
        """The images of one process as a stream, see `ShardStream`."""
        return ShardStream(
            self.data.index.splits[self.split],
            self.data.locate,
            classes=self.data.num_classes,
            transform=self.transform,
            batch_size=self.data.batch_size,
            decoding=self.data.decoding,
            world_size=world_size,
            rank=rank,
            unreadable=self.unreadable,
            **options,
        )


# Batches whose names a loader keeps: Lightning prefetches one, and a loss is checked one step later.
_KEPT = 8


class StreamLoader(DataLoader[Any]):
    """A loader of a stream, whose order follows the epoch and which can begin at any of its batches.

    Lightning keeps the result of `state_dict` in a checkpoint, and gives it back before a resumed epoch.

    Args:
        stream: The images to load.
        epoch: Gives the epoch; called whenever an iteration begins.
        options: Arguments of `torch.utils.data.DataLoader`.

    Attributes:
        names: Names of the images in the last few batches, by the number of the batch in its epoch.
    """

    def __init__(self, stream: ShardStream, epoch: Callable[[], int], **options: Any) -> None:
        super().__init__(stream, **options)
        self.stream, self.epoch = stream, epoch
        self.names: dict[int, list[str]] = {}
        self._served = self._start = 0

    def __len__(self) -> int:
        return self.stream.batches_of(self.num_workers)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._served, self._start = self._start, 0
        self.stream.start(epoch=self.epoch(), batch=self._served)
        self.names.clear()
        for images, labels, names in super().__iter__():
            self.names[self._served] = names
            self.names.pop(self._served - _KEPT, None)
            self._served += 1
            yield [images, labels]

    def state_dict(self) -> dict[str, int]:
        """Number of batches of this epoch that have been served; 0 after its last one."""
        return {"served": 0 if self._served == len(self) else self._served}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Begin the next iteration after the batches that were served."""
        self._start = int(state_dict["served"])
