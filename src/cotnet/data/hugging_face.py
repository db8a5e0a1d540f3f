"""Data sets of Hugging Face's `datasets`: saved to disk, as local images or parquet files, or from the hub."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from cotnet.data.module import ImageDataModule, Labelled
from cotnet.data.readers import EncodedReader
from cotnet.data.splits import train_split_of, val_split_of
from cotnet.files.image import UnreadableImageError


class HuggingFace(ImageDataModule):
    """A data set with a column of images and a column of class labels.

    Args:
        path: A folder that `save_to_disk` made, a folder of images or of parquet files, or a name on the hub, which
            the library then fetches and keeps as it does everywhere.
        name: Configuration of a data set on the hub.
        train_split: Split to train on; None takes ``train`` or ``training``.
        val_split: Split to validate on; None takes ``validation``, ``valid`` or ``val``. A ``test`` split is used only
            to evaluate a trained network, or where this names it.
        image: Column of the images; None takes the only one of that kind.
        label: Column of the labels; None takes the only column of class labels.
        options: See `ImageDataModule`.

    Raises:
        ValueError: A number is outside its range; on use: there is no such data set, split or column.
    """

    def __init__(
        self,
        path: str,
        *,
        name: str | None = None,
        train_split: str | None = None,
        val_split: str | None = None,
        image: str | None = None,
        label: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.path, self.name = path, name
        self.train_split, self.val_split = train_split, val_split
        self.image, self.label = image, label

    @property
    def source(self) -> dict[str, Any]:
        fields = {**self._fields, "val_split": self.val_split}
        return {key: value for key, value in fields.items() if value is not None}

    @property
    def order_fields(self) -> dict[str, Any]:
        return {**self._fields, "train_split": self.train_split}

    @property
    def _fields(self) -> dict[str, str | None]:
        path = str(Path(self.path).absolute()) if Path(self.path).exists() else self.path
        return {"path": path, "name": self.name, "image": self.image, "label": self.label}

    @cached_property
    def class_names(self) -> list[str]:
        return [str(name) for name in self._splits[self._val_name].features[self._columns[1]].names]

    def train_images(self) -> Labelled:
        return self._labelled(self._train_name)

    def val_images(self) -> Labelled:
        return self._labelled(self._val_name)

    @property
    def places(self) -> dict[str, str]:
        train = {} if self.evaluation else {"training": f"split {self._train_name!r} of {self.path}"}
        return {**train, "validating": f"split {self._val_name!r}" + (f" of {self.path}" if self.evaluation else "")}

    @cached_property
    def _splits(self) -> Any:
        import datasets

        try:
            if not Path(self.path).is_dir():
                return datasets.load_dataset(self.path, self.name)
            if is_saved_set(Path(self.path)):
                found = datasets.load_from_disk(self.path)
                return found if isinstance(found, datasets.DatasetDict) else datasets.DatasetDict(train=found)
            return datasets.load_dataset(_builder(Path(self.path)), data_dir=self.path)
        # The library and its readers raise errors of many types.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"cannot open the data set {self.path!r}: {reason}") from error

    @property
    def _train_name(self) -> str:
        return self.train_split or train_split_of(self._splits, place=f"data set {self.path!r}")

    @property
    def _val_name(self) -> str:
        return self.val_split or val_split_of(self._splits, place=f"data set {self.path!r}", evaluation=self.evaluation)

    @cached_property
    def _columns(self) -> tuple[str, str]:
        """The columns of images and of labels."""
        import datasets

        features = next(iter(self._splits.values())).features
        columns = []
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
            columns.append(name or fitting[0])
        return columns[0], columns[1]

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
        encoded = rows.cast_column(image, datasets.Image(decode=False))
        return _RowReader(encoded, image, f"{self.path} {split}", self.decoding), labels


class _RowReader(EncodedReader):
    """Reads the images of a column, which stay encoded until then."""

    def __init__(self, rows: Any, column: str, name: str, decoding: Mapping[str, Any]) -> None:
        super().__init__(decoding)
        self.rows, self.column, self._name = rows, column, name

    def name(self, index: int) -> str:
        return f"{index} of {self._name}"

    def content(self, index: int) -> bytes:
        stored = self.rows[index][self.column] or {}
        if stored.get("bytes") is not None:
            return stored["bytes"]
        try:
            return Path(stored["path"]).read_bytes()
        except (KeyError, TypeError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else "its row is empty"
            raise UnreadableImageError.named(self.name(index), reason) from error


def _builder(folder: Path) -> str:
    return "parquet" if any(folder.rglob("*.parquet")) else "imagefolder"


def is_saved_set(folder: Path) -> bool:
    """Whether `save_to_disk` has written a folder, as a set of splits or as a single one."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))
