"""Data sets of Hugging Face's `datasets`: saved to disk, as local images or parquet files, or from the hub."""

from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from cotnet.data.datasets import decode
from cotnet.data.encoded import suffix_of
from cotnet.data.module import IMAGENET_MEAN, IMAGENET_STD, ImageDataModule, Labelled
from cotnet.data.transforms import Augment, Interpolation
from cotnet.data.unreadable import UnreadableError

_VAL_NAMES = ("validation", "valid", "val", "test")


class HuggingFace(ImageDataModule):
    """A data set with a column of images and a column of class labels.

    Args:
        path: A folder that `save_to_disk` made, a folder of images or of parquet files, or a name on the hub, which
            the library then fetches and keeps as it does everywhere.
        name: Configuration of a data set on the hub.
        train_split: Split to train on.
        val_split: Split to validate on; None takes ``validation``, ``valid``, ``val`` or ``test``.
        image: Column of the images; None takes the only one of that kind.
        label: Column of the labels; None takes the only column of class labels.
        size: Side of the square network input in pixels.
        batch_size: Images per step and device.
        num_workers: Loader processes.
        augment: How training images are changed.
        auto_augment: A RandAugment policy, or None.
        mean: Mean of each channel.
        std: Standard deviation of each channel.
        interpolation: Resampling filter.
        crop_pct: Fraction that the validation crop keeps.
        in_memory: Decode every image once, before training; see `ImageDataModule`.
        skip_unreadable: So many images of a split may be unreadable and are skipped; 0 stops at the first one.

    Raises:
        ValueError: A number is outside its range; on use: there is no such data set, split or column.
    """

    def __init__(
        self,
        path: str,
        *,
        name: str | None = None,
        train_split: str = "train",
        val_split: str | None = None,
        image: str | None = None,
        label: str | None = None,
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
            in_memory=in_memory,
            skip_unreadable=skip_unreadable,
        )
        self.path, self.name = path, name
        self.train_split, self.val_split = train_split, val_split
        self.image, self.label = image, label

    @property
    def source(self) -> dict[str, str | int | bool]:
        chosen = {**self._chosen, "val_split": self.val_split}
        return {key: value for key, value in chosen.items() if value is not None}

    @property
    def order_fields(self) -> dict[str, str | int | bool | None]:
        return {**self._chosen, "train_split": self.train_split}

    @property
    def _chosen(self) -> dict[str, str | None]:
        path = str(Path(self.path).absolute()) if Path(self.path).exists() else self.path
        return {"path": path, "name": self.name, "image": self.image, "label": self.label}

    @cached_property
    def class_names(self) -> list[str]:
        return [str(name) for name in self._splits[self._val_name()].features[self._columns[1]].names]

    def train_images(self) -> Labelled:
        return self._labelled(self.train_split)

    def val_images(self) -> Labelled:
        return self._labelled(self._val_name())

    @cached_property
    def _splits(self) -> Any:
        import datasets

        try:
            if not Path(self.path).is_dir():
                return datasets.load_dataset(self.path, self.name)
            if any((Path(self.path) / file).is_file() for file in ("dataset_dict.json", "state.json")):
                found = datasets.load_from_disk(self.path)
                return found if isinstance(found, datasets.DatasetDict) else datasets.DatasetDict(train=found)
            return datasets.load_dataset(_builder(Path(self.path)), data_dir=self.path)
        # The library and its readers raise whatever they stumble over.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"cannot open the data set {self.path!r}: {reason}") from error

    def _val_name(self) -> str:
        if self.val_split is not None:
            return self.val_split
        found = next((name for name in _VAL_NAMES if name in self._splits), None)
        if found is None:
            raise ValueError(
                f"data set {self.path!r} has no split to validate on, only {', '.join(self._splits)}; "
                "pass --data.val_split"
            )
        return found

    @cached_property
    def _columns(self) -> tuple[str, str]:
        """The columns of images and of labels."""
        import datasets

        features = next(iter(self._splits.values())).features
        chosen = []
        kinds: tuple[tuple[str, str | None, type], ...] = (
            ("image", self.image, datasets.Image),
            ("label", self.label, datasets.ClassLabel),
        )
        for field, name, kind in kinds:
            fitting = [column for column, feature in features.items() if isinstance(feature, kind)]
            if name is None and len(fitting) != 1:
                raise ValueError(
                    f"data set {self.path!r} has {len(fitting)} columns of type {kind.__name__} "
                    f"({', '.join(features)}); pass --data.{field}"
                )
            if name is not None and name not in fitting:
                raise ValueError(
                    f"data.{field} {name!r} is no column of type {kind.__name__} of {self.path!r}; "
                    f"it has {', '.join(fitting) or 'none'}"
                )
            chosen.append(name or fitting[0])
        return chosen[0], chosen[1]

    def _labelled(self, split: str) -> Labelled:
        import datasets

        if split not in self._splits:
            raise ValueError(f"data set {self.path!r} has no split {split!r}; it has {', '.join(self._splits)}")
        image, label = self._columns
        rows = self._splits[split]
        labels = list(rows[label])
        unlabelled = next((index for index, value in enumerate(labels) if value is None or value < 0), None)
        if unlabelled is not None:
            raise ValueError(f"image {unlabelled} of split {split!r} of {self.path!r} has no label")
        return _RowReader(rows.cast_column(image, datasets.Image(decode=False)), image, f"{self.path} {split}"), labels


class _RowReader:
    """Reads the images of a column, which stay encoded until then."""

    def __init__(self, rows: Any, column: str, name: str) -> None:
        self.rows, self.column, self._name = rows, column, name

    def __call__(self, index: int) -> Image.Image:
        return decode(self._bytes(index), self.name(index))

    def check(self, index: int) -> None:
        decode(self._bytes(index), self.name(index), reduced=True)

    def name(self, index: int) -> str:
        return f"{index} of {self._name}"

    def encoded(self, index: int) -> tuple[bytes, str]:
        content = self._bytes(index)
        return content, suffix_of(content)

    def _bytes(self, index: int) -> bytes:
        stored = self.rows[index][self.column] or {}
        if stored.get("bytes") is not None:
            return stored["bytes"]
        try:
            return Path(stored["path"]).read_bytes()
        except (KeyError, TypeError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else "its row holds none"
            raise UnreadableError(f"cannot read the image {self.name(index)}: {reason}; repair or remove it") from error


def _builder(folder: Path) -> str:
    return "parquet" if any(folder.rglob("*.parquet")) else "imagefolder"
