"""What every data module serves to training, whatever its images and its task are."""

import signal
import sys
from abc import abstractmethod
from collections.abc import Sized
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader, Dataset, Sampler

from cotnet.data.samplers import DistributedEpochSampler
from cotnet.files.machine import affordable_workers
from cotnet.files.pixels import ValueRange

Loader = DataLoader[Any]


class TrainingImages(Protocol):
    """A split whose images have names."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """The name of an image in messages and reports."""


class BaseDataModule(LightningDataModule):
    """Images of two splits, in loaders whose batches are a function of seed, epoch and batch number alone.

    It has every member of `cotnet.training.protocol.TrainingData`.

    Args:
        batch_size: Images per step and device.
        num_workers: Loader processes; 0 loads in the training process.
        skip_unreadable: The number of unreadable images to tolerate in each split. They are skipped, counted and
            named; one more stops the run, so with 0 the first one does.
        value_range: The values that become black and white in images deeper than 8 bits, see
            `cotnet.files.pixels.to_rgb`; None takes the range of their type.
        max_pixels: The largest number of pixels that an image may have; None takes the limit of Pillow, or of the
            environment variable ``COTNET_MAX_PIXELS``.

    Attributes:
        seed: Seed of the order of the training images and of their augmentation.
        position: The epoch to start with, and the number of its batches to skip.
        overfit: Whether every epoch has the order of the first one, for ``trainer.overfit_batches``.

    Raises:
        ValueError: A number is outside its range.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        num_workers: int,
        skip_unreadable: int,
        value_range: ValueRange | None = None,
        max_pixels: int | None = None,
    ) -> None:
        super().__init__()
        check_at_least(batch_size=(batch_size, 1), num_workers=(num_workers, 0), skip_unreadable=(skip_unreadable, 0))
        self.batch_size = batch_size
        self.num_workers = num_workers
        if value_range is not None and not (len(value_range) == 2 and value_range[0] < value_range[1]):
            raise ValueError(f"data.value_range must be two ascending numbers, such as [0, 4095], got {value_range}")
        if max_pixels is not None:
            check_at_least(max_pixels=(max_pixels, 1))
        self.skip_unreadable = skip_unreadable
        self.value_range = None if value_range is None else (value_range[0], value_range[1])
        self.max_pixels = max_pixels
        self.seed = 0
        self.position = (0, 0)
        self.overfit = False

    @property
    @abstractmethod
    def train_set(self) -> TrainingImages:
        """The training images, after `setup`."""

    @property
    @abstractmethod
    def val_set(self) -> Sized:
        """The validation images, after `setup`."""

    @property
    @abstractmethod
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of the network's outputs."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def note(self) -> str | None:
        """A sentence that puts the run's score into perspective, or None."""
        return None

    @property
    def synsets(self) -> list[str] | None:
        """The WordNet id of each class, or None where they are not known."""
        return None

    @property
    def preprocessing(self) -> dict[str, Any] | None:
        """How an image becomes the network's input, in timm's terms; None where the images keep their sizes."""
        return None

    @property
    @abstractmethod
    def source(self) -> dict[str, Any]:
        """The constructor arguments that find the validation images again, without sizes and augmentation."""

    @property
    def order_fields(self) -> dict[str, Any]:
        """The constructor arguments that the order of the training images depends on, beside `batch_size`."""
        return dict(self.source)

    @abstractmethod
    def check_images(self) -> None:
        """Find unreadable images before training does.

        Raises:
            ValueError: There are more of them than are tolerated; the message names one.
        """

    def skipped(self) -> list[str]:
        """Names of the images that were skipped so far."""
        return []

    def batch_names(self, epoch: int, batch: int) -> list[str]:
        """Names of the images in a training batch of this process; none where they are not known any more."""
        sampler = self.train_sampler()
        sampler.set_epoch(epoch)
        indices = sampler.indices()[batch * self.batch_size : (batch + 1) * self.batch_size]
        return [self.train_set.name(index) for index in indices]

    @abstractmethod
    def train_sampler(self) -> DistributedEpochSampler:
        """The order of this process's training images, which begins at `position`."""

    @property
    def decoding(self) -> dict[str, Any]:
        """How images are decoded, as arguments of `cotnet.files.image.open_image`."""
        return {"value_range": self.value_range, "max_pixels": self.max_pixels}

    @property
    def card_fields(self) -> dict[str, Any]:
        """What a network's card keeps of `decoding`, so that prediction reads pixels alike."""
        return {} if self.value_range is None else {"value_range": list(self.value_range)}

    @property
    def start(self) -> tuple[int, int]:
        """`position` in images: the epoch to start with, and the number of this process's images to skip in it."""
        epoch, batches = self.position
        return epoch, batches * self.batch_size

    @property
    def world_size(self) -> int:
        """Number of processes that share the images."""
        return 1 if self.trainer is None else self.trainer.world_size

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return 0 if self.trainer is None else self.trainer.global_rank

    def loader_options(self) -> dict[str, Any]:
        """What all loaders of this module have in common, as arguments of `torch.utils.data.DataLoader`."""
        return {
            "batch_size": self.batch_size,
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "pin_memory": torch.cuda.is_available(),
            "worker_init_fn": ignore_signals,
            # A separate generator, so that the start of an epoch draws nothing from the global one.
            "generator": torch.Generator().manual_seed(self.seed),
        }

    def loader(self, images: Dataset[Any], sampler: Sampler[Any], **options: Any) -> Loader:
        """A loader of a split in an order; ``options`` go to `torch.utils.data.DataLoader`."""
        workers = affordable_workers(self.num_workers)
        if workers < self.num_workers:
            notify(
                f"the limit of open files allows {workers} of data.num_workers {self.num_workers}; "
                "raise it by ulimit -n 4096"
            )
        affordable = {"num_workers": workers, "persistent_workers": workers > 0}
        return DataLoader(images, sampler=sampler, **{**self.loader_options(), **affordable, **options})


@rank_zero_only
def notify(text: str) -> None:
    """Print a line that a user should know, in one process and apart from results."""
    print(f"note: {text}", file=sys.stderr, flush=True)


def check_at_least(**numbers: tuple[int, int]) -> None:
    """Raise `ValueError` where a field of ``data`` is below its minimum; each is given as value and minimum."""
    for name, (value, minimum) in numbers.items():
        if value < minimum:
            raise ValueError(f"data.{name} must be at least {minimum}, got {value}")


def ignore_signals(worker: int) -> None:
    """Keep a loader process alive after a signal to its whole group, until the run has saved its state."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_later)


def _end_later(number: int, frame: Any) -> None:
    # Where the run neither ends its loaders by itself nor by this signal, they end after a minute.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.alarm(60)
