"""Folders of images: with splits, ``root/train/<class>/*.jpg`` and ``root/val/<class>/*.jpg``, or of classes alone."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from cotnet.data.base import notify
from cotnet.data.holdout import digest, hold_out, relative
from cotnet.data.module import ImageDataModule, Labelled
from cotnet.data.readers import FileReader
from cotnet.data.splits import TEST, TRAIN, VAL, find_split, train_split_of, val_split_of
from cotnet.files.image import is_image_name
from cotnet.files.listing import SkippedFiles, images_below, is_hidden


class ImageFolder(ImageDataModule):
    """Images sorted into one folder per class, with or without a split.

    A split is named as usual in any case: ``train`` or ``training``; ``val``, ``valid`` or ``validation``. A ``test``
    folder is used only to evaluate a trained network, or where ``val_split`` names it. A folder without splits is
    divided: the same share of each class is held out for validation, by the seed and the images' names.

    Args:
        root: Holds the folders of the splits, each with one folder per class, the same names in both; or one folder per
            class. Images may be in deeper folders, and folders may be links.
        train_split: Name of the folder to train on; None takes the usual one.
        val_split: Name of the folder to validate on; None takes the usual one.
        val_share: Share of each class to hold out where ``root`` has no splits, above 0 and below 1.
        split_seed: Seed of that division; it does not follow the run's seed.
        split_digest: Checksum of the part that was held out, as a run records it; any other part is refused.
        options: See `ImageDataModule`.

    Raises:
        ValueError: A number is outside its range; on use: a folder is missing or empty, or class folders differ.
    """

    def __init__(
        self,
        root: str,
        *,
        train_split: str | None = None,
        val_split: str | None = None,
        val_share: float = 0.2,
        split_seed: int = 0,
        split_digest: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not 0 < val_share < 1:
            raise ValueError(f"data.val_share must be above 0 and below 1, got {val_share}")
        self.root = Path(root)
        self.train_split, self.val_split = train_split, val_split
        self.val_share, self.split_seed, self.split_digest = val_share, split_seed, split_digest

    @property
    def source(self) -> dict[str, Any]:
        root = {"root": str(self.root.absolute())}
        if self.val_split is not None:
            return {**root, "val_split": self.val_split}
        if not self.root.is_dir() or self.has_splits:
            return root
        return {**root, "val_share": self.val_share, "split_seed": self.split_seed, "split_digest": self._digest}

    @property
    def order_fields(self) -> dict[str, Any]:
        return {**self.source, "train_split": self.train_split}

    @cached_property
    def class_names(self) -> list[str]:
        if not self.has_splits:
            return _class_folders(self.root)
        val = self.val_folder
        if self.evaluation:
            return _class_folders(val)
        train = self.train_folder
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

    @property
    def places(self) -> dict[str, str]:
        if self.has_splits:
            train = {} if self.evaluation else {"training": str(self.train_folder)}
            return {**train, "validating": str(self.val_folder)}
        if self._is_whole:
            return {"validating": f"all of {self.root}"}
        percent = f"{100 * self.val_share:g} %"
        return {
            "training": str(self.root),
            "validating": f"{percent} of each class, by split_seed {self.split_seed} (it has no splits)",
        }

    @cached_property
    def has_splits(self) -> bool:
        """Whether the folder has splits, which hold class folders; class folders hold images."""
        if self.train_split is not None or self.val_split is not None:
            return True
        usual = [name for name in self._folders if find_split([name], TRAIN + VAL + TEST)]
        return any(_folder_names(self.root / name) for name in usual)

    @cached_property
    def train_folder(self) -> Path:
        """The folder to train on, of those with splits."""
        return self._split_folder(self.train_split, "train_split") or self.root / train_split_of(
            self._folders, place=f"folder {str(self.root)!r}"
        )

    @property
    def val_folder(self) -> Path:
        """The folder to validate on, of those with splits."""
        return self._split_folder(self.val_split, "val_split") or self.root / val_split_of(
            self._folders, place=f"folder {str(self.root)!r}", evaluation=self.evaluation
        )

    def train_images(self) -> Labelled:
        if self.has_splits:
            return self._labelled(*labelled_files(self.train_folder, self.class_names))
        return self._part(held_out=False)

    def val_images(self) -> Labelled:
        if self.has_splits:
            return self._labelled(*labelled_files(self.val_folder, self.class_names))
        return self._labelled(*self._files) if self._is_whole else self._part(held_out=True)

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        return state if self.has_splits else {**state, "split": self._digest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        if not self.has_splits and "split" in state_dict:
            self._check_digest(state_dict["split"])

    @cached_property
    def _folders(self) -> list[str]:
        if not self.root.is_dir():
            raise ValueError(
                f"data.root {str(self.root)!r} is not a folder; it must hold train/<class> and val/<class>, or one "
                "folder per class"
            )
        return _folder_names(self.root)

    def _split_folder(self, name: str | None, field: str) -> Path | None:
        if name is not None and not (self.root / name).is_dir():
            raise ValueError(
                f"data.{field} {name!r} is not a folder in {str(self.root)!r}; it holds {', '.join(self._folders)}"
            )
        return None if name is None else self.root / name

    @property
    def _is_whole(self) -> bool:
        """Whether a trained network is evaluated on the whole folder, as where no run has held out a part of it."""
        return self.evaluation and self.split_digest is None

    @cached_property
    def _files(self) -> tuple[list[str], list[int]]:
        return labelled_files(self.root, self.class_names)

    @cached_property
    def _held_out(self) -> list[bool]:
        """Which of the files are held out for validation, where there are no splits."""
        names = relative(self._files[0], str(self.root))
        try:
            chosen = hold_out(names, self._files[1], share=self.val_share, seed=self.split_seed)
        except ValueError as error:
            raise ValueError(f"folder {str(self.root)!r} has no splits, and {error}") from error
        return [name in chosen for name in names]

    @cached_property
    def _digest(self) -> str:
        names = relative(self._files[0], str(self.root))
        return digest([name for name, is_held_out in zip(names, self._held_out, strict=True) if is_held_out])

    def _check_digest(self, expected: str) -> None:
        if self._digest != expected:
            raise ValueError(
                f"the images in {str(self.root)!r} are not those of the run, so that others would be held out; "
                "put them back, or make a folder each for training and validation"
            )

    def _part(self, *, held_out: bool) -> Labelled:
        if self.split_digest is not None:
            self._check_digest(self.split_digest)
        indices = [index for index, is_held_out in enumerate(self._held_out) if is_held_out == held_out]
        paths, labels = self._files
        return self._labelled([paths[index] for index in indices], [labels[index] for index in indices])

    def _labelled(self, paths: Sequence[str], labels: Sequence[int]) -> Labelled:
        return FileReader(paths, decoding=self.decoding), labels


def labelled_files(folder: Path, class_names: Sequence[str]) -> tuple[list[str], list[int]]:
    """Paths and labels of the images in the class folders of a folder; a note counts whatever is skipped.

    Raises:
        ValueError: A class has no image.
    """
    paths: list[str] = []
    labels: list[int] = []
    skipped = SkippedFiles()
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir() and is_image_name(entry.name) and entry.is_file():
                skipped.add("images outside the class folders")
            elif not entry.is_dir():
                skipped.add_file(entry.path)
            elif is_hidden(entry.name):
                skipped.add("hidden folders")
    for label, name in enumerate(class_names):
        of_class = SkippedFiles()
        files = list(images_below(str(folder / name), of_class))
        if not files:
            seen = f" ({of_class})" if of_class else ""
            raise ValueError(f"class folder {str(folder / name)!r} holds no image{seen}; add some or remove the class")
        skipped.counts += of_class.counts
        paths += files
        labels += [label] * len(files)
    if skipped:
        notify(f"{folder}: {skipped}")
    return paths, labels


def _class_folders(folder: Path) -> list[str]:
    names = _folder_names(folder)
    if not names:
        raise ValueError(f"folder {str(folder)!r} is empty: it must hold one folder of images per class")
    return names


def _folder_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))


def _listed(names: set[str]) -> str:
    shown = sorted(names)
    return ", ".join(map(repr, shown[:5])) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
