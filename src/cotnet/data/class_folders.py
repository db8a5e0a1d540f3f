"""Validation pictures in a folder of class folders, without a split."""

from functools import cached_property
from pathlib import Path
from typing import Any

from cotnet.data.base import Labelled, PictureData
from cotnet.data.folder import picture_files
from cotnet.data.pictures import FileReader


class ClassFolders(PictureData):
    """`root/CLASS/*.jpg`; for validation alone.

    Args:
        root: holds one folder per class.
        options: of `PictureData`.

    Raises:
        ValueError: on use: there is no class folder, or one without pictures.
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
            raise ValueError(f"folder {str(self.root)!r} must hold val/CLASS or CLASS folders with pictures")
        return names

    def train_pictures(self) -> Labelled:
        raise ValueError(f"folder {str(self.root)!r} has no train/CLASS folders")

    def val_pictures(self) -> Labelled:
        paths: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(self.class_names):
            found = picture_files(self.root / name)
            if not found:
                raise ValueError(f"class folder {str(self.root / name)!r} holds no picture")
            paths += found
            labels += [label] * len(found)
        return FileReader(paths), labels
