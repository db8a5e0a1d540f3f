"""A whole image set in one ``.npz`` file: encoded images end to end, their offsets and their labels."""

import zipfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cotnet.data.module import ImageDataModule, Labelled
from cotnet.data.readers import EncodedReader
from cotnet.data.splits import TEST, find_split, train_split_of, val_split_of
from cotnet.data.transforms import Augment

Arrays = dict[str, np.ndarray]


class NpzPack(ImageDataModule):
    """Images packed into one ``.npz`` file.

    For a split S the file holds ``S_jpeg`` (uint8, all encoded images), ``S_offset`` (n + 1 integers; image i is
    ``jpeg[offset[i]:offset[i + 1]]``) and ``S_label`` (n integers), and the class names as ``classes``, or as ``wnids``
    with ``names``. Pickled objects are never loaded.

    Args:
        path: The file.
        train_split: Name of the split to train on; None takes ``train`` or ``training``.
        val_split: Name of the split to validate on; None takes ``val``, ``valid`` or ``validation``, else ``test``,
            which a note then says.
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
        train_split: str | None = None,
        val_split: str | None = None,
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
        self.train_split, self.val_split = train_split, val_split

    @property
    def source(self) -> dict[str, Any]:
        path = {"path": str(self.path.absolute())}
        return path if self.val_split is None else {**path, "val_split": self.val_split}

    @property
    def order_fields(self) -> dict[str, Any]:
        return {**self.source, "train_split": self.train_split}

    @property
    def places(self) -> dict[str, str]:
        is_test = find_split([self._val_name], TEST) is not None
        return {"validating": f"split {self._val_name!r} of {self.path}"} if is_test else {}

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
        return self._split(self.train_split or train_split_of(self._splits, place=repr(str(self.path))))

    def val_images(self) -> Labelled:
        return self._split(self._val_name)

    @property
    def _splits(self) -> list[str]:
        return [key.removesuffix("_jpeg") for key in self._arrays if key.endswith("_jpeg")]

    @property
    def _val_name(self) -> str:
        # Benchmarks come as packs of train and test, where the test images are for validation by custom.
        return self.val_split or val_split_of(self._splits, place=repr(str(self.path)), evaluation=True)

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
        return _PackReader(jpeg, offset, f"{self.path} {split}", self.decoding), label.tolist()


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
    def __init__(self, jpeg: np.ndarray, offset: np.ndarray, name: str, decoding: Mapping[str, Any]) -> None:
        super().__init__(decoding)
        self.jpeg, self.offset, self._name = jpeg, offset, name

    def content(self, index: int) -> bytes:
        return self.jpeg[self.offset[index] : self.offset[index + 1]].tobytes()

    def name(self, index: int) -> str:
        return f"{index} of {self._name}"
