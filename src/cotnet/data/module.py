"""What every classification data module shares: sizes, normalisation, transforms and seeded loaders."""

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torchvision.transforms import InterpolationMode, v2

from cotnet.data.base import BaseDataModule, Loader, check_at_least, notify
from cotnet.data.datasets import ImageDataset, InMemoryDataset, decode_all
from cotnet.data.rand_augment import check_policy
from cotnet.data.readers import ImageReader, inspect_images
from cotnet.data.samplers import DistributedEpochSampler, DistributedEvalSampler
from cotnet.data.transforms import Augment, Interpolation, Transform, eval_crop, eval_transform, train_transform
from cotnet.files.image import UnreadableImageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Labelled = tuple[ImageReader, Sequence[int]]


class ImageDataModule(BaseDataModule):
    """Labelled images for training and validation.

    A data module names its classes and opens its images; transforms and loaders are common to all. Every data module
    takes these options beside its own; one with another default lists that option itself.

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
        skip_unreadable: The number of unreadable images to tolerate in each split; they are skipped. With 0 the first
            one stops the run.
        value_range: The values that become black and white in images deeper than 8 bits, such as ``[0, 4095]``; None
            takes 0 to 65,535 for integers and 0 to 1 for floating-point numbers, see `cotnet.files.pixels.to_rgb`.
        max_pixels: The largest number of pixels that an image may have; None takes Pillow's limit, or that of the
            environment variable ``COTNET_MAX_PIXELS``.

    Raises:
        ValueError: A number is outside its range, or ``in_memory`` is combined with what it cannot do.

    Attributes:
        evaluation: Whether a trained network is evaluated, and nothing is trained.
    """

    def __init__(
        self,
        *,
        size: int = 224,
        batch_size: int = 64,
        num_workers: int = 4,
        augment: Augment = "resized_crop",
        auto_augment: str | None = None,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        interpolation: Interpolation = "bicubic",
        crop_pct: float = 0.875,
        in_memory: bool = False,
        skip_unreadable: int = 0,
        value_range: tuple[float, float] | None = None,
        max_pixels: int | None = None,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            num_workers=num_workers,
            skip_unreadable=skip_unreadable,
            value_range=value_range,
            max_pixels=max_pixels,
        )
        check_at_least(size=(size, 1))
        if not 0 < crop_pct <= 1:
            raise ValueError(f"data.crop_pct must be above 0 and at most 1, got {crop_pct}")
        if not all(channel > 0 for channel in std):
            raise ValueError(f"data.std must be above 0 in every channel, got {std}")
        if auto_augment is not None:
            check_policy(auto_augment)
        if in_memory and (augment == "resized_crop" or auto_augment is not None):
            field = f"data.augment {augment}" if auto_augment is None else f"data.auto_augment {auto_augment}"
            raise ValueError(f"data.in_memory does not go with {field}; use --data.in_memory false")
        if in_memory and skip_unreadable:
            raise ValueError("data.in_memory does not go with data.skip_unreadable; use --data.in_memory false")
        self.size = size
        self.augment: Augment = augment
        self.auto_augment = auto_augment
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.interpolation = interpolation
        self.crop_pct = crop_pct
        self.in_memory = in_memory
        self.evaluation = False
        self._train_set: Any = None
        self._val_set: Any = None

    @abstractmethod
    def train_images(self) -> Labelled:
        """Reader and labels of the training images."""

    @abstractmethod
    def val_images(self) -> Labelled:
        """Reader and labels of the validation images."""

    @property
    def train_set(self) -> Any:
        """The training images, after `setup`."""
        assert self._train_set is not None, "call setup first"
        return self._train_set

    @property
    def val_set(self) -> Any:
        """The validation images, after `setup`."""
        assert self._val_set is not None, "call setup first"
        return self._val_set

    @property
    def synsets(self) -> list[str] | None:
        """The WordNet id of each class where the data have them; class folders may be named by them."""
        return self.class_names if all(re.fullmatch(r"n\d{8}", name) for name in self.class_names) else None

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How an image becomes the network's input, in timm's terms."""
        plain = {
            "input_size": [3, self.size, self.size],
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "crop_pct": self.crop_pct,
        }
        return plain if self.value_range is None else {**plain, "value_range": list(self.value_range)}

    @property
    def places(self) -> dict[str, str]:
        """Where the images of ``training`` and ``validation`` are, for those that a user may want to know of."""
        return {}

    def setup(self, stage: str | None = None) -> None:
        """Find the images, and report what is wrong with them before anything is trained or written.

        It can be called again when a trainer is there, which knows how many processes share the images.

        Raises:
            ValueError: The images are missing, or fewer than one batch for every process.
        """
        is_first = self._val_set is None
        if is_first:
            self.evaluation = stage == "validate"
        if stage in (None, "fit"):
            if self._train_set is None:
                self._train_set = self.make_train_set()
            self.check_batch()
        if is_first:
            self._val_set = self.make_val_set()
            if self.places:
                notify(", ".join(f"{activity} on {place}" for activity, place in self.places.items()))

    def check_batch(self) -> None:
        """Raise `ValueError` where there are fewer training images than one batch for every process."""
        count = len(self.train_set)
        if count >= self.batch_size * self.world_size:
            return
        each = f" in each of {self.world_size} processes" if self.world_size > 1 else ""
        limit = count // self.world_size
        advice = f"use --data.batch_size {limit} or less" if limit else "use fewer processes"
        raise ValueError(f"data.batch_size {self.batch_size}{each} is more than the {count} training images; {advice}")

    def check_images(self) -> None:
        """Find unreadable images before training does.

        Raises:
            ValueError: There are more of them in a split than are tolerated; the message names one.
        """
        for images in (self.train_set, self.val_set):
            if isinstance(images, ImageDataset):  # others have been decoded already
                # Validation has no other image to take the place of an unreadable one, so all must be found here.
                self._check(images, all_of_them=images is self.val_set and self.skip_unreadable > 0)

    def _check(self, images: ImageDataset, *, all_of_them: bool) -> None:
        remarks: dict[str, list[int]] = {}
        outside: dict[int, UnreadableImageError] = {}
        for index, found in inspect_images(images.read, len(images), **({"limit": len(images)} if all_of_them else {})):
            if not isinstance(found, UnreadableImageError):
                for remark in found:
                    remarks.setdefault(remark, []).append(index)
            elif found.extent is None:
                images.unreadable.skip(index, found)
            else:
                outside[index] = found
        if len(outside) > max(1, self.skip_unreadable):
            extents = [error.extent for error in outside.values() if error.extent]
            low, high = min(extent[0] for extent in extents), max(extent[1] for extent in extents)
            raise ValueError(
                f"the values of {len(outside)} images, such as {images.name(next(iter(outside)))}, do not fit the "
                f"range of their type; pass --data.value_range '[{low:g}, {high:g}]'"
            )
        for index, error in outside.items():
            images.unreadable.skip(index, error)
        for remark, indices in remarks.items():
            notify(f"{len(indices)} images {remark}, such as {images.name(indices[0])}")

    def skipped(self) -> list[str]:
        """Names of the images that were skipped: by this process and, up to the last checkpoint, by any other."""
        return [name for images in self._tolerant.values() for name in images.unreadable.names(images.name)]

    def state_dict(self) -> dict[str, Any]:
        """What any process has skipped, for the checkpoint of the first one; all processes must call it together."""
        for images in self._tolerant.values():
            images.unreadable.gather()
        if self.rank > 0:
            return {}
        return {split: images.unreadable.to_plain(images.name) for split, images in self._tolerant.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Skip what the run before a resume has skipped."""
        for split, images in self._tolerant.items():
            if split in state_dict:
                images.unreadable.from_plain(state_dict[split])

    @property
    def _tolerant(self) -> dict[str, Any]:
        """The splits in which images may be skipped."""
        return {"train": self.train_set, "val": self.val_set} if self.skip_unreadable else {}

    def train_sampler(self) -> DistributedEpochSampler:
        return DistributedEpochSampler(
            self.train_set,
            seed=self.seed,
            world_size=self.world_size,
            rank=self.rank,
            start=self.start,
            fixed=self.overfit,
        )

    def train_dataloader(self) -> Loader:
        """Shuffled training batches; the last, incomplete one is dropped.

        A batch is a function of `seed`, epoch and batch number alone, so a resumed run sees what an uninterrupted one
        sees, from any `position` on.
        """
        return self.loader(self.train_set, self.train_sampler(), drop_last=True)

    def val_dataloader(self) -> Loader:
        """Validation batches, every image once over all processes, always in the same shuffled order.

        Images are mostly sorted by class; shuffled, the first batches alone are a fair sample of all.
        """
        order = torch.randperm(len(self.val_set), generator=torch.Generator().manual_seed(0))
        if isinstance(self.val_set, ImageDataset):
            order = order[~self.val_set.unreadable.marks[order]]
        sampler = DistributedEvalSampler(self.val_set, order.tolist(), world_size=self.world_size, rank=self.rank)
        return self.loader(self.val_set, sampler)

    def make_train_set(self) -> Any:
        """The training images as a data set."""
        read, labels = self.train_images()
        if not self.in_memory:
            return ImageDataset(read, labels, self.train_transform(), tolerated=self.skip_unreadable)
        resize = v2.Resize((self.size, self.size), interpolation=InterpolationMode(self.interpolation))
        pixels = decode_all(read, len(labels), resize, self.size)
        return InMemoryDataset(pixels, labels, name=read.name, augment=self.augment, mean=self.mean, std=self.std)

    def make_val_set(self) -> Any:
        """The validation images as a data set."""
        read, labels = self.val_images()
        if not self.in_memory:
            return ImageDataset(read, labels, self.eval_transform(), tolerated=self.skip_unreadable)
        crop = eval_crop(size=self.size, interpolation=self.interpolation, crop_pct=self.crop_pct)
        pixels = decode_all(read, len(labels), crop, self.size)
        return InMemoryDataset(pixels, labels, name=read.name, augment="none", mean=self.mean, std=self.std)

    def eval_transform(self) -> Transform:
        """From a validation image to the network's input."""
        return eval_transform(
            size=self.size, mean=self.mean, std=self.std, interpolation=self.interpolation, crop_pct=self.crop_pct
        )

    def train_transform(self) -> Transform:
        """From a training image to the network's input, with augmentation."""
        return train_transform(
            size=self.size,
            mean=self.mean,
            std=self.std,
            interpolation=self.interpolation,
            augment=self.augment,
            auto_augment=self.auto_augment,
        )
