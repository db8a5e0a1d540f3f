"""The default data: patches of images that scikit-image has already installed."""

from functools import cached_property

import numpy as np

from cotnet.data.bundled_patches import IMAGES, Patches, cut, nearest_mean_colour_accuracy, open_images
from cotnet.data.datasets import ArrayReader
from cotnet.data.module import ImageDataModule, Labelled
from cotnet.data.transforms import Augment, Interpolation


class BundledImages(ImageDataModule):
    """Patches of scikit-image's photographs and micrographs, one class per image; nothing is downloaded.

    Training and validation patches come from different cells of an image and share no pixel. Every channel of every
    patch has the same mean and contrast, so that mean colour does not tell the class: `nearest_mean_colour_accuracy`
    says what that rule scores. The patches are the same in every run.

    Args:
        train_per_class: Training patches of each image.
        val_per_class: Validation patches of each image.
        size: Side of a patch, and of the network input, in pixels, at most 48.
        batch_size: Patches per step and device.
        num_workers: Loader processes; the patches are in memory, so none is usual.
        augment: How training patches are changed.
        auto_augment: A timm RandAugment policy, or None.
        mean: Mean of each channel.
        std: Standard deviation of each channel.
        interpolation: Resampling filter.
        crop_pct: Fraction that the validation crop keeps.

    Raises:
        ValueError: A number is outside its range; on use: scikit-image is not installed.
    """

    def __init__(
        self,
        *,
        train_per_class: int = 200,
        val_per_class: int = 40,
        size: int = 32,
        batch_size: int = 64,
        num_workers: int = 0,
        augment: Augment = "pad_crop",
        auto_augment: str | None = None,
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.16, 0.16, 0.16),
        interpolation: Interpolation = "bicubic",
        crop_pct: float = 1.0,
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
        )
        for name, value in (("train_per_class", train_per_class), ("val_per_class", val_per_class)):
            if value < 1:
                raise ValueError(f"data.{name} must be at least 1, got {value}")
        if size > _CELL:
            raise ValueError(f"data.size must be at most {_CELL} for the embedded images, got {size}")
        self.train_per_class = train_per_class
        self.val_per_class = val_per_class

    @property
    def source(self) -> dict[str, str | int | bool]:
        return {"val_per_class": self.val_per_class}

    @property
    def order_fields(self) -> dict[str, str | int | bool | None]:
        return {"train_per_class": self.train_per_class}

    @property
    def class_names(self) -> list[str]:
        return sorted(IMAGES)

    @property
    def note(self) -> str:
        """What mean colour alone scores, for the user to compare with."""
        share = nearest_mean_colour_accuracy(self.train_patches, self.val_patches)
        return f"the nearest mean colour names {100 * share:.1f} % of the validation patches correctly"

    @cached_property
    def train_patches(self) -> Patches:
        """The training patches."""
        return self._cut(train=True, per_class=self.train_per_class)

    @cached_property
    def val_patches(self) -> Patches:
        """The validation patches."""
        return self._cut(train=False, per_class=self.val_per_class)

    def train_images(self) -> Labelled:
        return ArrayReader(self.train_patches.pixels), self.train_patches.labels

    def val_images(self) -> Labelled:
        return ArrayReader(self.val_patches.pixels), self.val_patches.labels

    @cached_property
    def _images(self) -> dict[str, np.ndarray]:
        return open_images()

    def _cut(self, *, train: bool, per_class: int) -> Patches:
        return cut(self._images, train=train, per_class=per_class, size=self.size, cell=_CELL)


# Small enough for a score of cells in the smallest image, large enough for many places of a 32-pixel patch.
_CELL = 48
