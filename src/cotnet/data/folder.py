"""Folders of images: with splits, ``root/train/<class>/*.jpg`` and ``root/val/<class>/*.jpg``, or of classes alone."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

from cotnet.data.module import ImageDataModule, Labelled
from cotnet.data.readers import FileReader
from cotnet.files.image import is_image_name

_VAL_NAMES = ("val", "validation", "test")


class ImageFolder(ImageDataModule):
    """Images sorted into one folder per class.

    Args:
        root: Holds ``train`` and ``val`` (``validation`` and ``test`` are taken as well), each with one folder per
            class, the same names in both. Images may be in deeper folders.
        options: See `ImageDataModule`.

    Raises:
        ValueError: A number is outside its range; on use: a folder is missing or empty, or class folders differ.
    """

    def __init__(self, root: str, **options: Any) -> None:
        super().__init__(**options)
        self.root = Path(root)

    @property
    def source(self) -> dict[str, Any]:
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
        return labelled_files(self.root / "train", self.class_names)

    def val_images(self) -> Labelled:
        return labelled_files(self._val_folder(), self.class_names)

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


class ClassFolders(ImageFolder):
    """Validation images in class folders without a split, ``root/<class>/*.jpg``.

    Args:
        root: Holds one folder per class.
        options: See `ImageDataModule`.

    Raises:
        ValueError: A number is outside its range; on use: there is no class folder, or one without images.
    """

    @cached_property
    def class_names(self) -> list[str]:
        names = _folder_names(self.root)
        if not names:
            raise ValueError(f"folder {str(self.root)!r} must hold val/CLASS or CLASS folders with images")
        return names

    def train_images(self) -> Labelled:
        raise ValueError(f"folder {str(self.root)!r} has no train/CLASS folders")

    def val_images(self) -> Labelled:
        return labelled_files(self.root, self.class_names)


def labelled_files(folder: Path, class_names: list[str]) -> Labelled:
    """Reader and labels of the images in the class folders of a folder.

    Raises:
        ValueError: A class has no image.
    """
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        files = image_files(folder / name)
        if not files:
            raise ValueError(f"class folder {str(folder / name)!r} holds no image; add some or remove the class")
        paths += files
        labels += [label] * len(files)
    return FileReader(paths), labels


def image_files(folder: Path) -> list[str]:
    """Paths of all images below a folder, sorted, see `cotnet.files.image.is_image_name`."""
    files = [
        path
        for place, _, names in os.walk(folder)
        for name in names
        if is_image_name(name) and os.path.isfile(path := os.path.join(place, name))
    ]
    return sorted(files, key=lambda path: path.split(os.sep))


def _class_folders(folder: Path) -> list[str]:
    names = _folder_names(folder)
    if not names:
        raise ValueError(f"folder {str(folder)!r} is empty: it must hold one folder of images per class")
    return names


def _folder_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _listed(names: set[str]) -> str:
    shown = sorted(names)
    return ", ".join(map(repr, shown[:5])) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
