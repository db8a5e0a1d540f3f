"""Validation images in a folder of class folders, without a split."""

from functools import cached_property
from pathlib import Path
from typing import Any

from cotnet.data.datasets import FileReader
from cotnet.data.folder import image_files
from cotnet.data.module import ImageDataModule, Labelled


class ClassFolders(ImageDataModule):
    """`root/CLASS/*.jpg`; for validation alone.

    Args:
        root: holds one folder per class.
        options: of `ImageDataModule`.

    Raises:
        ValueError: on use: there is no class folder, or one without images.
    """

    def __init__(self, root: str, **options: Any) -> None:
        super().__init__(**options)
        self.root = Path(root)

    @property
    def source(self) -> dict[str, str | int | bool]:
        return {"root": str(self.root.absolute())}

    @cached_property
    def class_names(self) -> list[str]:
        names = sorted(path.name for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if not names:
            raise ValueError(f"folder {str(self.root)!r} must hold val/CLASS or CLASS folders with images")
        return names

    def train_images(self) -> Labelled:
        raise ValueError(f"folder {str(self.root)!r} has no train/CLASS folders")

    def val_images(self) -> Labelled:
        paths: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(self.class_names):
            found = image_files(self.root / name)
            if not found:
                raise ValueError(f"class folder {str(self.root / name)!r} holds no image")
            paths += found
            labels += [label] * len(found)
        return FileReader(paths), labels
