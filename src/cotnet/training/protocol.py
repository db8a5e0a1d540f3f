"""What training asks of a data module, whatever its images and its task are."""

from collections.abc import Sequence, Sized
from typing import Any, Protocol

from lightning.pytorch import Trainer


class TrainingData(Protocol):
    """Images for training and validation; also a `lightning.pytorch.LightningDataModule`.

    Every member must be there; what a data module has no use for is ``None`` or empty.

    Attributes:
        trainer: Lightning's, which knows how many processes share the images; None before a run.
        batch_size: Images per step and process.
        seed: Of the order of the training images and of their augmentation; a run sets it.
        position: The epoch to start with, and the number of its batches to skip; a run sets it.
        overfit: Every epoch has the order of the first one, for ``trainer.overfit_batches``; a run sets it.
        note: A sentence that puts the run's score into perspective, or None.
    """

    trainer: Trainer | None
    batch_size: int
    seed: int
    position: tuple[int, int]
    overfit: bool

    @property
    def note(self) -> str | None: ...

    @property
    def train_set(self) -> Sized:
        """The training images, after `setup`."""

    @property
    def val_set(self) -> Sized:
        """The validation images, after `setup`."""

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of the network's outputs."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""

    @property
    def synsets(self) -> Sequence[str] | None:
        """The WordNet id of each class, or None where they are not known."""

    @property
    def preprocessing(self) -> dict[str, Any] | None:
        """How an image becomes the network's input, in timm's terms; None where the images keep their sizes."""

    @property
    def source(self) -> dict[str, Any]:
        """The constructor arguments that find the validation images again."""

    @property
    def order_fields(self) -> dict[str, Any]:
        """The constructor arguments that the order of the training images depends on, beside `batch_size`."""

    def setup(self, stage: str | None = None) -> None:
        """Find the images; may be called again once `trainer` is known.

        Raises:
            ValueError: They are missing or do not suffice.
        """

    def check_images(self) -> None:
        """Find unreadable images before training does.

        Raises:
            ValueError: There are more of them than are tolerated.
        """

    def skipped(self) -> list[str]:
        """Names of the images that were skipped so far."""

    def batch_names(self, epoch: int, batch: int) -> list[str]:
        """Names of the images in a training batch of this process; none where they are not known any more."""


def data_of(trainer: Trainer) -> TrainingData:
    """The data module of a trainer that trains."""
    return trainer.datamodule  # type: ignore[attr-defined]
