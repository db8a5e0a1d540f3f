"""A folder of images: ``root/train/<class>/*.jpg`` and ``root/val/<class>/*.jpg``."""

import os
from functools import cached_property
from pathlib import Path

from PIL import Image

from cotnet.data.datasets import FileReader
from cotnet.data.module import IMAGENET_MEAN, IMAGENET_STD, ImageDataModule, Labelled
from cotnet.data.transforms import Augment, Interpolation

_VAL_NAMES = ("val", "validation", "test")


class ImageFolder(ImageDataModule):
    """Images sorted into one folder per class.

    Args:
        root: Holds ``train`` and ``val`` (``validation`` and ``test`` are taken as well), each with one folder per
            class, the same names in both. Images may lie in deeper folders.
        size: Side of the square network input in pixels.
        batch_size: Images per step and device.
        num_workers: Loader processes.
        augment: How training images are changed.
        auto_augment: A timm RandAugment policy, or None.
        mean: Mean of each channel.
        std: Standard deviation of each channel.
        interpolation: Resampling filter.
        crop_pct: Fraction that the validation crop keeps.
        skip_unreadable: So many images of a split may be unreadable and are skipped; 0 stops at the first one.

    Raises:
        ValueError: A number is outside its range; on use: a folder is missing or empty, or class folders differ.
    """

    def __init__(
        self,
        root: str,
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
        self.root = Path(root)

    @property
    def source(self) -> dict[str, str | int | bool]:
        return {"root": str(self.root.absolute())}

    @cached_property
    def class_names(self) -> list[str]:
        self._check_root()
        train, val = self.root / "train", self._val_folder()
        if not train.is_dir():  # enough to validate
            return _class_folders(val)
        names, val_names = _class_folders(train), _class_folders(val)
        for here, there, lacking in (
            (train, val, set(names) - set(val_names)),
            (val, train, set(val_names) - set(names)),
        ):
            if lacking:
                raise ValueError(
                    f"class folders differ: {_listed(lacking)} in {str(here)!r} but not in {str(there)!r}; "
                    "both must hold the same classes"
                )
        return names

    def train_images(self) -> Labelled:
        self._check_root()
        if not (self.root / "train").is_dir():
            raise ValueError(f"folder {str(self.root / 'train')!r} is missing; it must hold one folder per class")
        return self._images(self.root / "train")

    def val_images(self) -> Labelled:
        return self._images(self._val_folder())

    def _check_root(self) -> None:
        if not self.root.is_dir():
            raise ValueError(
                f"data.root {str(self.root)!r} is not a folder; it must hold train/<class> and val/<class>"
            )

    def _val_folder(self) -> Path:
        for name in _VAL_NAMES:
            if (self.root / name).is_dir():
                return self.root / name
        raise ValueError(f"folder {str(self.root / 'val')!r} is missing; it must hold one folder per class")

    def _images(self, folder: Path) -> Labelled:
        paths: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(self.class_names):
            found = image_files(folder / name)
            if not found:
                raise ValueError(f"class folder {str(folder / name)!r} holds no image; add some or remove the class")
            paths += found
            labels += [label] * len(found)
        return FileReader(paths), labels


def image_files(folder: Path) -> list[str]:
    """Paths of all files below a folder whose suffix names an image format that Pillow reads, sorted."""
    suffixes = Image.registered_extensions()
    found = [
        path
        for place, _, names in os.walk(folder)
        for name in names
        if os.path.splitext(name)[1].lower() in suffixes and not name.startswith(".")
        if os.path.isfile(path := os.path.join(place, name))
    ]
    return sorted(found, key=lambda path: path.split(os.sep))


def _class_folders(folder: Path) -> list[str]:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise ValueError(f"folder {str(folder)!r} is empty: it must hold one folder of images per class")
    return names


def _listed(names: set[str]) -> str:
    shown = sorted(names)
    return ", ".join(map(repr, shown[:5])) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
