"""A set in COCO's format as a Lightning data module."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from torchvision.transforms import v2

from cotnet.data.base import BaseDataModule, Loader
from cotnet.data.samplers import DistributedEvalSampler
from cotnet.detection.coco.annotations import CocoAnnotations, read_coco
from cotnet.detection.coco.archive import Files, open_files
from cotnet.detection.coco.dataset import CocoDataset, collate
from cotnet.detection.coco.sampler import AspectRatioSampler
from cotnet.files.machine import available_cpus

Flip = Literal["none", "horizontal", "both"]
_FLIPS: dict[str, list[type]] = {
    "none": [],
    "horizontal": [v2.RandomHorizontalFlip],
    "both": [v2.RandomHorizontalFlip, v2.RandomVerticalFlip],
}


class CocoData(BaseDataModule):
    """Images with boxes, and masks where they are asked for, for training and validation.

    Images keep their sizes; the detector resizes them.

    Args:
        path: A folder or a zip archive, which is read in place.
        train: Name of the training annotations in it.
        val: Name of the validation annotations in it.
        images: The folder in it that the images' names are relative to.
        val_images: The folder of the validation images, where it is another.
        masks: Read masks, too; objects without one are then left out.
        batch_size: Images per step and device.
        num_workers: Loader processes; 0 loads in the training process.
        flip: Mirror training images at random: ``horizontal``, ``both`` ways (as suits a microscope), or ``none``.
        epoch_images: Images per epoch, over all devices; None for each image once.
        skip_unreadable: The number of images to tolerate in each split that cannot be read or have another size than
            their annotation says; they are skipped. With 0 the first one stops the run.

    Raises:
        ValueError: A number is outside its range; on use: the files are missing, damaged or unusable.
    """

    def __init__(
        self,
        path: str,
        *,
        train: str = "train.json",
        val: str = "val.json",
        images: str = "images",
        val_images: str | None = None,
        masks: bool = False,
        batch_size: int = 2,
        num_workers: int = 2,
        flip: Flip = "horizontal",
        epoch_images: int | None = None,
        skip_unreadable: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, skip_unreadable=skip_unreadable)
        if epoch_images is not None and epoch_images < batch_size:
            raise ValueError(f"data.epoch_images must be at least data.batch_size {batch_size}, got {epoch_images}")
        if flip not in _FLIPS:
            raise ValueError(f"data.flip must be one of {', '.join(_FLIPS)}, got {flip!r}")
        self.path = Path(path)
        self.train_file, self.val_file = train, val
        self.images, self.val_images = images, val_images or images
        self.masks = masks
        self.flip = flip
        self.epoch_images = epoch_images
        self._skipped: list[str] = []
        self._files: Files | None = None
        self._train_set: CocoDataset | None = None
        self._val_set: CocoDataset | None = None

    @property
    def train_set(self) -> CocoDataset:
        """The training images, after `setup` for training."""
        assert self._train_set is not None, "call setup first"
        return self._train_set

    @property
    def val_set(self) -> CocoDataset:
        """The validation images, after `setup`."""
        assert self._val_set is not None, "call setup first"
        return self._val_set

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of their labels from 1."""
        return self.val_set.annotations.class_names

    @property
    def category_ids(self) -> list[int]:
        """The files' id of each class."""
        return self.val_set.annotations.category_ids

    @property
    def source(self) -> dict[str, Any]:
        """The constructor arguments that find the validation images again."""
        return {
            "path": str(self.path.absolute()),
            "val": self.val_file,
            "images": self.val_images,
            "masks": self.masks,
        }

    @property
    def order_fields(self) -> dict[str, Any]:
        """The constructor arguments that the order of the training images depends on, beside `batch_size`."""
        return {
            "path": str(self.path.absolute()),
            "train": self.train_file,
            "images": self.images,
            "masks": self.masks,
            "epoch_images": self.epoch_images,
        }

    def setup(self, stage: str | None = None) -> None:
        """Read and check the annotations; what was left out is printed."""
        if self._files is None:
            self._files = open_files(self.path)
        if self._val_set is None:
            self._val_set = self._read(self._files, self.val_file, self.val_images, None)
        if stage == "fit" and self._train_set is None:
            flips = v2.Compose([flip(0.5) for flip in _FLIPS[self.flip]]) if self.flip != "none" else None
            self._train_set = self._read(self._files, self.train_file, self.images, flips)
            training, validation = self._train_set.annotations, self._val_set.annotations
            if (training.category_ids, training.class_names) != (validation.category_ids, validation.class_names):
                raise ValueError(
                    f"categories differ: {training.source} has {_listed(training)}, "
                    f"{validation.source} has {_listed(validation)}"
                )

    def _read(self, files: Files, name: str, folder: str, transform: Callable[..., Any] | None) -> CocoDataset:
        annotations = read_coco(files, name, folder, masks=self.masks)
        if annotations.problems:
            print(annotations.report())
        return CocoDataset(annotations, files, masks=self.masks, transform=transform)

    def check_images(self) -> None:
        """Decode every image once, and skip those that cannot be used as far as ``skip_unreadable`` allows.

        Raises:
            ValueError: There are more of them in a split than are tolerated, or none is left.
        """
        for images in (self._train_set, self._val_set):
            if images is not None:
                self._check(images)

    def _check(self, images: CocoDataset) -> None:
        def fault(index: int) -> str | None:
            try:
                images.open(index)
            except ValueError as error:
                return str(error)
            return None

        with ThreadPoolExecutor(min(8, available_cpus())) as pool:  # decoders release the interpreter lock
            faults = {index: text for index, text in enumerate(pool.map(fault, range(len(images)))) if text}
        if not faults:
            return
        first = "; ".join(list(faults.values())[:5]) + (f" and {len(faults) - 5} more" if len(faults) > 5 else "")
        text = f"{len(faults)} of {len(images)} images cannot be used: {first}"
        if len(faults) > self.skip_unreadable or len(faults) == len(images):
            raise ValueError(f"{text}; repair or remove them, or pass --data.skip_unreadable {len(faults)}")
        print(f"{text}; skipped")
        self._skipped += [images.name(index) for index in faults]
        images.annotations.leave_out(faults)

    def skipped(self) -> list[str]:
        """Names of the images that cannot be used and were skipped."""
        return self._skipped

    def train_sampler(self) -> AspectRatioSampler:
        """The order of this process's training images, in batches of one shape; it begins at `position`."""
        return AspectRatioSampler(
            self.train_set,
            self.train_set.aspect_ratios,
            batch_size=self.batch_size,
            epoch_images=self.epoch_images,
            world_size=self.world_size,
            rank=self.rank,
            seed=self.seed,
            start=self.start,
            fixed=self.overfit,
        )

    def train_dataloader(self) -> Loader:
        """Batches of one shape, shuffled anew every epoch; a function of `seed`, epoch and batch number alone."""
        return self.loader(self.train_set, self.train_sampler(), drop_last=True, collate_fn=collate)

    def val_dataloader(self) -> Loader:
        """Every validation image once over all processes, those of one shape together.

        The batches are those that a single process would have.
        """
        ratios = self.val_set.aspect_ratios
        order = sorted(range(len(ratios)), key=ratios.__getitem__)
        sampler = DistributedEvalSampler(
            self.val_set, order, world_size=self.world_size, rank=self.rank, block=self.batch_size
        )
        return self.loader(self.val_set, sampler, collate_fn=collate)


def _listed(annotations: CocoAnnotations) -> str:
    pairs = [f"{i} {name}" for i, name in zip(annotations.category_ids, annotations.class_names, strict=True)]
    return ", ".join(pairs[:5]) + (f" and {len(pairs) - 5} more" if len(pairs) > 5 else "")
