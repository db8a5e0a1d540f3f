"""A whole image set in one ``.npz`` file: encoded images end to end, their offsets and their labels."""

import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cotnet.data.module import ImageDataModule, Labelled
from cotnet.data.readers import EncodedReader
from cotnet.data.transforms import Augment

Arrays = dict[str, np.ndarray]


class NpzPack(ImageDataModule):
    """Images packed into one ``.npz`` file.

    For a split S in ``train`` and ``test`` or ``val`` the file holds ``S_jpeg`` (uint8, all encoded images),
    ``S_offset`` (n + 1 integers; image i is ``jpeg[offset[i]:offset[i + 1]]``) and ``S_label`` (n integers), and
    the class names as ``classes``, or as ``wnids`` with ``names``. Pickled objects are never loaded.

    Args:
        path: The file.
        size: Side of the square network input in pixels.
        batch_size: Images per step and device.
        num_workers: Loader processes.
        augment: How training images are changed.
        crop_pct: Fraction that the validation crop keeps.
        options: See `ImageDataModule`.

    Raises:
        ValueError: A number is outside its range; on use: the file is missing, damaged or inconsistent.
    """

    def __init__(
        self,
        path: str,
        *,
        size: int = 32,
        batch_size: int = 128,
        num_workers: int = 2,
        augment: Augment = "pad_crop",
        crop_pct: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(
            size=size,
            batch_size=batch_size,
            num_workers=num_workers,
            augment=augment,
            crop_pct=crop_pct,
            **options,
        )
        self.path = Path(path)

    @property
    def source(self) -> dict[str, Any]:
        return {"path": str(self.path.absolute())}

    @cached_property
    def class_names(self) -> list[str]:
        key = "classes" if "classes" in self._arrays else "names"
        array = self._arrays[key]
        if array.ndim != 1 or len(array) == 0:
            raise ValueError(
                f"{str(self.path)!r} is damaged: {key!r} must hold names in one dimension, got shape {array.shape}"
            )
        names = [str(name) for name in array]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is None:
            return names
        wnids = self._arrays.get("wnids", ())
        if len(set(map(str, wnids))) != len(names):  # which would tell apart synsets that share a word
            raise ValueError(f"{str(self.path)!r} has two classes named {twice!r}; rename one of them")
        return [f"{name} ({wnid})" for name, wnid in zip(names, wnids, strict=True)]

    @property
    def synsets(self) -> list[str] | None:
        return [str(wnid) for wnid in self._arrays["wnids"]] if "wnids" in self._arrays else super().synsets

    def train_images(self) -> Labelled:
        return self._split("train")

    def val_images(self) -> Labelled:
        return self._split("val" if "val_jpeg" in self._arrays else "test")

    @cached_property
    def _arrays(self) -> Arrays:
        if not self.path.is_file():
            raise ValueError(f"data.path {str(self.path)!r} is not a file; it must be an .npz image pack")
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays: Arrays = {key: archive[key] for key in archive.files}
        # NumPy raises errors of many types on damaged archives.
        except Exception as error:
            reason = error if zipfile.is_zipfile(self.path) else "it is truncated, or no .npz file at all"
            raise ValueError(f"cannot read {str(self.path)!r} as an .npz image pack: {reason}") from error
        if "classes" not in arrays and not {"wnids", "names"} <= arrays.keys():
            raise ValueError(
                f"{str(self.path)!r} lacks class names: neither 'classes' nor 'wnids' and 'names' are in it"
            )
        return arrays

    def _split(self, split: str) -> Labelled:
        keys = [f"{split}_{part}" for part in ("jpeg", "offset", "label")]
        for key in keys:
            if key not in self._arrays:
                raise ValueError(f"{str(self.path)!r} lacks {key!r}; it holds {', '.join(sorted(self._arrays))}")
        jpeg, offset, label = (self._arrays[key] for key in keys)
        fault = _fault(jpeg, offset, label, self.num_classes)
        if fault:
            raise ValueError(f"{str(self.path)!r} is damaged: {split}_{fault}")
        return _PackReader(jpeg, offset, f"{self.path} {split}"), label.tolist()


def _fault(jpeg: np.ndarray, offset: np.ndarray, label: np.ndarray, num_classes: int) -> str | None:
    """What is inconsistent in the arrays of a split, or None."""
    if jpeg.dtype != np.uint8 or jpeg.ndim != 1:
        return f"jpeg must be uint8 in one dimension, got {jpeg.dtype} of shape {jpeg.shape}"
    for name, array in (("offset", offset), ("label", label)):
        if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) == 0:
            return f"{name} must hold integers in one dimension, got {array.dtype} of shape {array.shape}"
    if len(offset) != len(label) + 1:
        return f"offset must hold one number more than there are labels, got {len(offset)} for {len(label)} labels"
    signed = offset.astype(np.int64)
    if signed[0] != 0 or signed[-1] != len(jpeg) or (np.diff(signed) <= 0).any():
        return f"offset must rise from 0 to {len(jpeg)}, the length of jpeg; it goes from {signed[0]} to {signed[-1]}"
    wrong = np.flatnonzero((label.astype(np.int64) < 0) | (label.astype(np.int64) >= num_classes))
    if wrong.size:
        return f"label holds the unknown class {label[wrong[0]]} at {wrong[0]}; there are {num_classes} classes"
    return None


class _PackReader(EncodedReader):
    def __init__(self, jpeg: np.ndarray, offset: np.ndarray, name: str) -> None:
        self.jpeg, self.offset, self._name = jpeg, offset, name

    def content(self, index: int) -> bytes:
        return self.jpeg[self.offset[index] : self.offset[index + 1]].tobytes()

    def name(self, index: int) -> str:
        return f"{index} of {self._name}"
