"""Tar shards from a disk, a command, the web or an object store, as `cotnet shards` or webdataset write them."""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from cotnet.data.module import IMAGENET_MEAN, IMAGENET_STD, ImageDataModule, Labelled, leave_signals_to_the_run
from cotnet.data.shards.index import INDEX, ShardIndex
from cotnet.data.shards.stream import ShardStream, name_of, open_url, read_shard
from cotnet.data.transforms import Augment, Interpolation, Transform
from cotnet.data.unreadable import Unreadable


class WebShards(ImageDataModule):
    """Images in tar shards with the index of `cotnet shards`, read one after the other and never unpacked.

    Args:
        root: Folder or URL that holds ``index.json``, such as ``shards``, ``https://host/shards`` or
            ``s3://bucket/shards`` (through fsspec and its package for that store).
        url: Where a shard is, when not beside the index, with ``{name}`` for its file name, such as
            ``pipe:curl -s https://host/{name}``.
        shuffle: Images in memory per loader process, among which the next one is drawn.
        size: Side of the square network input in pixels.
        batch_size: Images per step and device.
        num_workers: Loader processes.
        augment: How training images are changed.
        auto_augment: A RandAugment policy, or None.
        mean: Mean of each channel.
        std: Standard deviation of each channel.
        interpolation: Resampling filter.
        crop_pct: Fraction that the validation crop keeps.
        skip_unreadable: So many images of a split may be unreadable and are skipped; 0 stops at the first one.

    Raises:
        ValueError: A number is outside its range; on use: the index or a shard is missing or damaged.
    """

    def __init__(
        self,
        root: str,
        *,
        url: str | None = None,
        shuffle: int = 1000,
        size: int = 224,
        batch_size: int = 64,
        num_workers: int = 4,
        augment: Augment = "resized_crop",
        auto_augment: str | None = None,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        interpolation: Interpolation = "bicubic",
        crop_pct: float = 0.875,
        skip_unreadable: int = 0,
    ) -> None:
        super().__init__(
            size=size,
            batch_size=batch_size,
            num_workers=num_workers,
            augment=augment,
            auto_augment=auto_augment,
            mean=mean,
            std=std,
            interpolation=interpolation,
            crop_pct=crop_pct,
            skip_unreadable=skip_unreadable,
        )
        if shuffle < 0:
            raise ValueError(f"data.shuffle must be at least 0, got {shuffle}")
        if url is not None and "{name}" not in url:
            raise ValueError(f"data.url must hold {{name}} in the place of a shard's file name, got {url!r}")
        self.root = root.rstrip("/")
        self.url = url
        self.shuffle = shuffle

    @property
    def source(self) -> dict[str, str | int | bool]:
        root = self.root if ":" in self.root else str(Path(self.root).absolute())
        place: dict[str, str | int | bool] = {"root": root}
        return place if self.url is None else {**place, "url": self.url}

    @property
    def order_fields(self) -> dict[str, str | int | bool | None]:
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
        # What a disk, a network or a store has to say has no common class.
        except Exception as error:
            raise ValueError(f"cannot read {place} ({error}); `cotnet shards` writes it beside its shards") from error
        return ShardIndex.from_json(content, name=place)

    def locate(self, name: str) -> str:
        """Where a shard is."""
        return f"{self.root}/{name}" if self.url is None else self.url.replace("{name}", name)

    def setup(self, stage: str | None = None) -> None:
        """Read the index.

        Raises:
            ValueError: It is missing, or there are fewer images than a batch for every process, or than workers.
        """
        if stage in (None, "fit") and not hasattr(self, "train_set"):
            self.train_set: Any = Split(self, "train", self._train_transform())
        if not hasattr(self, "val_set"):
            self.val_set: Any = Split(self, "val", self._eval_transform())
        super().setup(stage)

    def _check_batch(self) -> None:
        super()._check_batch()
        count, (processes, _) = len(self.train_set), self._processes()
        if count < self.num_workers * processes:
            raise ValueError(
                f"data.num_workers {self.num_workers} in each of {processes} processes is more than the {count} "
                f"training images; use --data.num_workers {count // processes} or less"
            )

    def check_images(self) -> None:
        """Open the first shard of each split and decode its first image; the rest is checked as it is read."""
        for split in (self.train_set, self.val_set):
            next(iter(split.stream(batches=1)))

    def train_dataloader(self) -> "StreamLoader":
        world, rank = self._processes()
        batches = len(self.train_set) // (self.batch_size * world)
        options = {"shuffle": self.shuffle, "seed": self.seed, "fixed": self.overfit}
        stream = self.train_set.stream(batches=batches, world=world, rank=rank, **options)
        self._streamed = self._stream_loader(stream, lambda: 0 if self.trainer is None else self.trainer.current_epoch)
        return self._streamed

    def batch_names(self, epoch: int, batch: int) -> list[str]:
        """What the images of a training batch of this process are called, one of the last few that were streamed."""
        return self._streamed.names.get(batch, [])

    def val_dataloader(self) -> "StreamLoader":
        """Every image once over all processes, in the order of the shards."""
        world, rank = self._processes()
        return self._stream_loader(self.val_set.stream(world=world, rank=rank), lambda: 0)

    def train_images(self) -> Labelled:
        raise ValueError("shards are read from end to end and do not give single images")

    val_images = train_images

    def _stream_loader(self, stream: ShardStream, epoch: Callable[[], int]) -> "StreamLoader":
        return StreamLoader(
            stream,
            epoch,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(self.seed),
            worker_init_fn=leave_signals_to_the_run,
        )


class Split:
    """The images of a split, known by their number until they are streamed."""

    def __init__(self, data: WebShards, split: str, transform: Transform) -> None:
        if split not in data.index.splits:
            raise ValueError(f"{data.root} has no shards for {split}; it has {', '.join(data.index.splits)}")
        self.data, self.split, self.transform = data, split, transform
        self.unreadable = Unreadable(len(self), tolerated=data.skip_unreadable)

    def __len__(self) -> int:
        return self.data.index.images(self.split)

    def name(self, index: int) -> str:
        """Key and shard of an image; the shard is read up to it, and where that fails its place stands for the key."""
        place, shards = index, iter(self.data.index.splits[self.split])
        while place >= (shard := next(shards)).images:
            place -= shard.images
        url = self.data.locate(shard.name)
        try:
            with closing(read_shard(url)) as samples:
                return name_of(next(islice(samples, place, None)))
        except (ValueError, StopIteration):
            return f"number {place} of {url}"

    def stream(self, *, world: int = 1, rank: int = 0, **options: Any) -> ShardStream:
        """A stream of one process, see `ShardStream`."""
        return ShardStream(
            self.data.index.splits[self.split],
            self.data.locate,
            classes=self.data.num_classes,
            transform=self.transform,
            batch_size=self.data.batch_size,
            world=world,
            rank=rank,
            unreadable=self.unreadable,
            **options,
        )


# Batches whose names a loader remembers: Lightning is one ahead, and a loss is looked at one step later.
_REMEMBERED = 8


class StreamLoader(DataLoader[Any]):
    """A loader of a stream, whose order follows the epoch and which can begin at any of its batches.

    Lightning keeps what `state_dict` says in a checkpoint, and hands it back before a resumed epoch.

    Args:
        stream: What is loaded.
        epoch: Asked for the epoch whenever an iteration begins.
        options: Of `torch.utils.data.DataLoader`.

    Attributes:
        names: What the images of the last few batches are called, by the number of the batch in its epoch.
    """

    def __init__(self, stream: ShardStream, epoch: Callable[[], int], **options: Any) -> None:
        super().__init__(stream, **options)
        self.stream, self.epoch = stream, epoch
        self.names: dict[int, list[str]] = {}
        self._served = self._passed = 0

    def __len__(self) -> int:
        return self.stream.batches_of(self.num_workers)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._served, self._passed = self._passed, 0
        self.stream.start(epoch=self.epoch(), batch=self._served)
        self.names.clear()
        for images, labels, names in super().__iter__():
            self.names[self._served] = names
            self.names.pop(self._served - _REMEMBERED, None)
            self._served += 1
            yield [images, labels]

    def state_dict(self) -> dict[str, int]:
        """How many batches of this epoch have been served; none after its last one."""
        return {"served": 0 if self._served == len(self) else self._served}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Begin the next iteration after so many batches."""
        self._passed = int(state_dict["served"])
