"""What every data module of this package shares: sizes, normalisation, transforms and seeded loaders."""

import re
import signal
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import InterpolationMode, v2

from cotnet.data.datasets import ImageDataset, ImageReader, unreadable_images
from cotnet.data.in_memory import InMemoryDataset, decode_all
from cotnet.data.rand_augment import check_policy
from cotnet.data.samplers import EpochOrder
from cotnet.data.sharing import Share
from cotnet.data.transforms import Augment, Interpolation, Transform, eval_crop, eval_transform, train_transform

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Loader = DataLoader[Any]
Labelled = tuple[ImageReader, Sequence[int]]


class ImageDataModule(LightningDataModule):
    """Labelled images for training and validation.

    A data module names its classes and opens its images; the transforms and the loaders are the same for all.

    Args:
        size: Side of the square network input in pixels.
        batch_size: Images per step and device.
        num_workers: Loader processes; 0 loads in the training process.
        augment: How training images are changed, see `cotnet.data.transforms.train_transform`.
        auto_augment: A RandAugment policy for training images, see `cotnet.data.rand_augment`, or None.
        mean: Mean of each channel, of values in 0..1.
        std: Standard deviation of each channel.
        interpolation: Resampling filter.
        crop_pct: Fraction of the resized shorter side that the validation crop keeps, above 0 and at most 1.
        in_memory: Decode every image once, before training: ``3 * size ** 2`` bytes for each. Much faster for small
            images; they can be flipped and shifted then, but neither resized at random nor changed by a policy.
        skip_unreadable: So many images of a split may be unreadable, and are skipped; with 0 the first one stops
            the run.

    Attributes:
        seed: Of the order of the training images and of their augmentation.
        position: The epoch to start with, and the number of its batches to skip.
        overfit: Every epoch has the order of the first one, for ``trainer.overfit_batches``.

    Raises:
        ValueError: A number is outside its range, or `in_memory` is asked for with what it cannot do.
    """

    def __init__(
        self,
        *,
        size: int,
        batch_size: int,
        num_workers: int,
        augment: Augment,
        auto_augment: str | None,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        interpolation: Interpolation,
        crop_pct: float,
        in_memory: bool = False,
        skip_unreadable: int = 0,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("size", size, 1),
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("skip_unreadable", skip_unreadable, 0),
        ):
            if value < least:
                raise ValueError(f"data.{name} must be at least {least}, got {value}")
        if not 0 < crop_pct <= 1:
            raise ValueError(f"data.crop_pct must be above 0 and at most 1, got {crop_pct}")
        if not all(channel > 0 for channel in std):
            raise ValueError(f"data.std must be above 0 in every channel, got {std}")
        if auto_augment is not None:
            check_policy(auto_augment)
        if in_memory and (augment == "resized_crop" or auto_augment is not None):
            asked = f"data.augment {augment}" if auto_augment is None else f"data.auto_augment {auto_augment}"
            raise ValueError(f"data.in_memory does not go with {asked}; use --data.in_memory false")
        if in_memory and skip_unreadable:
            raise ValueError("data.in_memory does not go with data.skip_unreadable; use --data.in_memory false")
        self.size = size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.augment: Augment = augment
        self.auto_augment = auto_augment
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.interpolation = interpolation
        self.crop_pct = crop_pct
        self.in_memory = in_memory
        self.skip_unreadable = skip_unreadable
        self.seed = 0
        self.position = (0, 0)
        self.overfit = False

    @property
    def note(self) -> str | None:
        """A sentence that puts a run's score into perspective, or None."""
        return None

    @property
    @abstractmethod
    def class_names(self) -> list[str]:
        """Names of the classes; their order is the order of the network's outputs."""

    @property
    @abstractmethod
    def source(self) -> dict[str, str | int | bool]:
        """The constructor arguments that say which images these are, without sizes and augmentation."""

    @property
    def order_fields(self) -> dict[str, str | int | bool | None]:
        """The constructor arguments that the order of the training images depends on, beside `batch_size`."""
        return dict(self.source)

    @abstractmethod
    def train_images(self) -> Labelled:
        """Reader and labels of the training images."""

    @abstractmethod
    def val_images(self) -> Labelled:
        """Reader and labels of the validation images."""

    @property
    def synsets(self) -> list[str] | None:
        """The WordNet id of each class, where the data knows them; class folders may bear them."""
        return self.class_names if all(re.fullmatch(r"n\d{8}", name) for name in self.class_names) else None

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def preprocessing(self) -> dict[str, object]:
        """How an image becomes the network's input, in timm's terms."""
        return {
            "input_size": [3, self.size, self.size],
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "crop_pct": self.crop_pct,
        }

    def setup(self, stage: str | None = None) -> None:
        """Find the images; what is wrong with them shows here, before anything is trained or written.

        Once a trainer says how many processes share them, it can be called again for their sake.

        Raises:
            ValueError: The images are missing, or fewer than one batch for every process.
        """
        if stage in (None, "fit"):
            if not hasattr(self, "train_set"):
                self.train_set = self._train_set()
            self._check_batch()
        if not hasattr(self, "val_set"):
            self.val_set = self._val_set()

    def _check_batch(self) -> None:
        count, (processes, _) = len(self.train_set), self._processes()
        if count >= self.batch_size * processes:
            return
        asked = f"data.batch_size {self.batch_size}" + (f" in each of {processes} processes" if processes > 1 else "")
        most = count // processes
        advice = f"use --data.batch_size {most} or less" if most else "use fewer processes"
        raise ValueError(f"{asked} is more than the {count} training images; {advice}")

    def check_images(self) -> None:
        """Find unreadable images before training does.

        Raises:
            ValueError: An image of either split cannot be read; the message names it. Or, where some are tolerated,
                one more than that.
        """
        for images in (self.train_set, self.val_set):
            if not isinstance(images, ImageDataset):  # others have been decoded already
                continue
            # What is not found here stops validation, which has no other image to take in its place.
            every = {"most": len(images)} if images is self.val_set and self.skip_unreadable else {}
            for index, error in unreadable_images(images.read, len(images), **every):
                images.unreadable.skip(index, error)

    def skipped(self) -> list[str]:
        """Names of the images that were skipped: by this process and, up to the last checkpoint, by any other."""
        return [name for images in self._tolerant.values() for name in images.unreadable.names(images.name)]

    def state_dict(self) -> dict[str, Any]:
        """What was skipped in any process, for a checkpoint of the first one; all processes ask together."""
        for images in self._tolerant.values():
            images.unreadable.gather()
        if self._processes()[1] > 0:
            return {}
        return {split: one.unreadable.to_plain(one.name) for split, one in self._tolerant.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Pass over what the run before a resume has skipped."""
        for split, images in self._tolerant.items():
            if split in state_dict:
                images.unreadable.from_plain(state_dict[split])

    @property
    def _tolerant(self) -> dict[str, Any]:
        """The splits of which images may be skipped."""
        return {"train": self.train_set, "val": self.val_set} if self.skip_unreadable else {}

    def train_dataloader(self) -> Loader:
        """Shuffled training batches; the last, incomplete one is dropped.

        What a batch holds is a function of `seed`, epoch and batch alone, so that a resumed run sees what an unbroken
        one sees, from whatever `position` it goes on.
        """
        return self._loader(self.train_set, self._order(), drop_last=True)

    def batch_names(self, epoch: int, batch: int) -> list[str]:
        """What the images of a training batch of this process are called."""
        order = self._order()
        order.set_epoch(epoch)
        indices = order.indices()[batch * self.batch_size : (batch + 1) * self.batch_size]
        return [self.train_set.name(index) for index in indices]

    def _order(self) -> EpochOrder:
        processes, rank = self._processes()
        epoch, batches = self.position
        start = epoch, batches * self.batch_size
        options: dict[str, Any] = {"start": start, "fixed": self.overfit}
        return EpochOrder(self.train_set, seed=self.seed, processes=processes, rank=rank, **options)

    def val_dataloader(self) -> Loader:
        """Validation batches, every image once over all processes, in one mixed order for ever.

        Images mostly lie sorted by class; mixed, the first batches alone are a fair sample of all.
        """
        world, rank = self._processes()
        order = torch.randperm(len(self.val_set), generator=torch.Generator().manual_seed(0))
        if isinstance(self.val_set, ImageDataset):
            order = order[~self.val_set.unreadable.marks[order]]
        return self._loader(self.val_set, Share(self.val_set, order.tolist(), world=world, rank=rank), drop_last=False)

    def _processes(self) -> tuple[int, int]:
        """Number of processes, and which one this is."""
        return (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)

    def _loader(self, images: Dataset[Any], order: Sampler[Any], *, drop_last: bool) -> Loader:
        return DataLoader(
            images,
            batch_size=self.batch_size,
            sampler=order,
            drop_last=drop_last,
            # Its own, so that starting an epoch draws nothing from the global one.
            generator=torch.Generator().manual_seed(self.seed),
            num_workers=self.num_workers,
            worker_init_fn=leave_signals_to_the_run,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _train_set(self) -> ImageDataset | InMemoryDataset:
        read, labels = self.train_images()
        if not self.in_memory:
            return ImageDataset(read, labels, self._train_transform(), tolerated=self.skip_unreadable)
        resize = v2.Resize((self.size, self.size), interpolation=InterpolationMode(self.interpolation))
        pixels = decode_all(read, len(labels), resize, self.size)
        return InMemoryDataset(pixels, labels, name=read.name, augment=self.augment, mean=self.mean, std=self.std)

    def _val_set(self) -> ImageDataset | InMemoryDataset:
        read, labels = self.val_images()
        if not self.in_memory:
            return ImageDataset(read, labels, self._eval_transform(), tolerated=self.skip_unreadable)
        crop = eval_crop(size=self.size, interpolation=self.interpolation, crop_pct=self.crop_pct)
        pixels = decode_all(read, len(labels), crop, self.size)
        return InMemoryDataset(pixels, labels, name=read.name, augment="none", mean=self.mean, std=self.std)

    def _eval_transform(self) -> Transform:
        return eval_transform(
            size=self.size, mean=self.mean, std=self.std, interpolation=self.interpolation, crop_pct=self.crop_pct
        )

    def _train_transform(self) -> Transform:
        return train_transform(
            size=self.size,
            mean=self.mean,
            std=self.std,
            interpolation=self.interpolation,
            augment=self.augment,
            auto_augment=self.auto_augment,
        )


def leave_signals_to_the_run(worker: int) -> None:
    """A signal to the whole process group must not take the loader away before the run has saved its state."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_later)


def _end_later(number: int, frame: Any) -> None:
    # A run that does not end its loaders by itself, or ends them by this signal, does not wait for them for ever.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.alarm(60)
