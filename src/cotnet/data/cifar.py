"""CIFAR-10 and CIFAR-100 through torchvision."""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torchvision.datasets import CIFAR10, CIFAR100

from cotnet.data.module import ImageDataModule, Labelled
from cotnet.data.readers import ArrayReader
from cotnet.data.transforms import Augment

CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR_STD = (0.2470, 0.2435, 0.2616)


class CIFAR(ImageDataModule):
    """CIFAR-10 or CIFAR-100 (Krizhevsky 2009), 32x32 images; validation is on the test images, as is usual there.

    Args:
        root: Folder that holds the unpacked archive as torchvision leaves it.
        classes: 10 or 100.
        download: Fetch the archive into ``root`` when it is not there; nothing is fetched without this.
        size: Side of the square network input in pixels.
        batch_size: Images per step and device.
        num_workers: Loader processes.
        augment: How training images are changed.
        mean: Mean of each channel.
        std: Standard deviation of each channel.
        crop_pct: Fraction that the validation crop keeps.
        options: See `ImageDataModule`.

    Raises:
        ValueError: A number is outside its range; on use: the archive is not in ``root``.
    """

    def __init__(
        self,
        root: str,
        *,
        classes: Literal[10, 100] = 10,
        download: bool = False,
        size: int = 32,
        batch_size: int = 128,
        num_workers: int = 2,
        augment: Augment = "pad_crop",
        mean: tuple[float, float, float] = CIFAR_MEAN,
        std: tuple[float, float, float] = CIFAR_STD,
        crop_pct: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(
            size=size,
            batch_size=batch_size,
            num_workers=num_workers,
            augment=augment,
            mean=mean,
            std=std,
            crop_pct=crop_pct,
            **options,
        )
        self.root = Path(root)
        self.classes = classes
        self.download = download

    @property
    def source(self) -> dict[str, Any]:
        return {"root": str(self.root.absolute()), "classes": self.classes}

    @cached_property
    def class_names(self) -> list[str]:
        return list(self._split(train=False).classes)

    @property
    def places(self) -> dict[str, str]:
        return {"validating": f"the test images of CIFAR-{self.classes}"}

    def prepare_data(self) -> None:
        """Fetch the archive where that was asked for; Lightning calls this in one process only."""
        if self.download:
            self._split(train=False)

    def train_images(self) -> Labelled:
        return self._labelled(train=True)

    def val_images(self) -> Labelled:
        return self._labelled(train=False)

    def _labelled(self, *, train: bool) -> Labelled:
        split = self._split(train=train)
        return ArrayReader(split.data), split.targets

    def _split(self, *, train: bool) -> CIFAR10:
        kind = CIFAR100 if self.classes == 100 else CIFAR10
        try:
            return kind(self.root, train=train, download=self.download)
        except (RuntimeError, OSError) as error:
            raise ValueError(
                f"CIFAR-{self.classes} is not in {str(self.root)!r} ({error}); "
                "unpack it there or pass --data.download true"
            ) from error
