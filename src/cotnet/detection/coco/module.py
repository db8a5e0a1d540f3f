"""A set in COCO's format as a Lightning data module."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from cotnet.data.sharing import Share
from cotnet.detection.coco.annotations import CocoAnnotations, read_coco
from cotnet.detection.coco.archive import Files, open_files
from cotnet.detection.coco.dataset import CocoDataset, collate
from cotnet.detection.coco.sampler import AspectRatioSampler

Flip = Literal["none", "horizontal", "both"]
_FLIPS: dict[str, list[type]] = {
    "none": [],
    "horizontal": [v2.RandomHorizontalFlip],
    "both": [v2.RandomHorizontalFlip, v2.RandomVerticalFlip],
}


class CocoData(LightningDataModule):
    """Images with boxes, and perhaps masks, for training and validation.

    Images keep their sizes; the detector resizes them.

    Args:
        path: A folder or a zip archive, which is read in place.
        train: The annotations to train on, a name in it.
        val: Those to validate on.
        images: The folder in it that the images' names are relative to.
        val_images: The folder of the validation images, where it is another.
        masks: Read masks, too; objects without one are then left out.
        batch_size: Images per step and device.
        num_workers: Loader processes; 0 loads in the training process.
        flip: Mirror training images at random: ``horizontal``, ``both`` ways (as suits a microscope), or ``none``.
        epoch_images: How many images make an epoch, over all devices; None for each of them once.
        unreadable: What happens with images that cannot be read or have another size than is said: ``stop`` before
            training, or ``skip`` them; either way they are counted and named.

    Attributes:
        seed: Of the order of the training images and of their augmentation.
        position: The epoch to start with, and the number of its batches to skip.
        overfit: Every epoch has the order of the first one, for ``trainer.overfit_batches``.

    Raises:
        ValueError: A number is outside its range; on use: the files are missing, damaged or of no use.
    """

    note: str | None = None

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
        unreadable: Literal["stop", "skip"] = "stop",
    ) -> None:
        super().__init__()
        for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
            if value < least:
                raise ValueError(f"data.{name} must be at least {least}, got {value}")
        if epoch_images is not None and epoch_images < batch_size:
            raise ValueError(f"data.epoch_images must be at least data.batch_size {batch_size}, got {epoch_images}")
        if flip not in _FLIPS:
            raise ValueError(f"data.flip must be one of {', '.join(_FLIPS)}, got {flip!r}")
        self.path = Path(path)
        self.train_file, self.val_file = train, val
        self.images, self.val_images = images, val_images or images
        self.masks = masks
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.flip = flip
        self.epoch_images = epoch_images
        self.unreadable = unreadable
        self.seed = torch.initial_seed() % 2**31
        self.position = (0, 0)
        self.overfit = False
        self._passed_over: list[str] = []
        self._files: Files | None = None
        self.train_set: CocoDataset | None = None
        self.val_set: CocoDataset | None = None

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of their labels from 1."""
        return self._any.annotations.class_names

    @property
    def num_classes(self) -> int:
        """Number of classes, without the background."""
        return len(self.class_names)

    @property
    def category_ids(self) -> list[int]:
        """The files' id of each class."""
        return self._any.annotations.category_ids

    @property
    def source(self) -> dict[str, Any]:
        """The constructor arguments that find the validation images."""
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
        if self.val_set is None:
            self.val_set = self._read(self.val_file, self.val_images, None)
        if stage == "fit" and self.train_set is None:
            flips = v2.Compose([flip(0.5) for flip in _FLIPS[self.flip]]) if self.flip != "none" else None
            self.train_set = self._read(self.train_file, self.images, flips)
            here, there = self.train_set.annotations, self.val_set.annotations
            if (here.category_ids, here.class_names) != (there.category_ids, there.class_names):
                raise ValueError(
                    f"categories differ: {here.source} has {_listed(here)}, {there.source} has {_listed(there)}"
                )

    def check_images(self) -> None:
        """Decode every image once and treat those that cannot be read as `unreadable` says.

        Raises:
            ValueError: some cannot be read, and they are not to be skipped, or none is left.
        """
        for images in (self.train_set, self.val_set):
            if images is not None:
                self._check(images)

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of one shape, mixed anew every epoch; what is in them depends on `seed`, epoch and batch alone."""
        return self._loader(self.train_set, sampler=self._order(), drop_last=True)

    def batch_names(self, epoch: int, batch: int) -> list[str]:
        """What the images of a training batch of this process are called."""
        assert self.train_set is not None
        order = self._order()
        order.set_epoch(epoch)
        return [
            self.train_set.name(index)
            for index in order.indices()[batch * self.batch_size : (batch + 1) * self.batch_size]
        ]

    def skipped(self) -> list[str]:
        """Names of the images that cannot be used and were skipped."""
        return self._passed_over

    def _order(self) -> AspectRatioSampler:
        assert self.train_set is not None
        epoch, batches = self.position
        world, rank = self._processes()
        return AspectRatioSampler(
            self.train_set,
            self.train_set.aspect_ratios,
            batch_size=self.batch_size,
            epoch_images=self.epoch_images,
            world_size=world,
            rank=rank,
            seed=self.seed,
            start=(epoch, batches * self.batch_size),
            fixed=self.overfit,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Every validation image once over all processes, those of one shape together.

        Each batch is one of those that a single process would have, since padding has its part in what is found.
        """
        assert self.val_set is not None
        world, rank = self._processes()
        aspects = self.val_set.aspect_ratios
        order = sorted(range(len(aspects)), key=aspects.__getitem__)
        return self._loader(
            self.val_set, sampler=Share(self.val_set, order, world=world, rank=rank, block=self.batch_size)
        )

    def _processes(self) -> tuple[int, int]:
        """Number of processes, and which one this is."""
        return (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)

    def _loader(self, images: Any, **options: Any) -> DataLoader[Any]:
        return DataLoader(
            images,
            batch_size=self.batch_size,
            collate_fn=collate,
            generator=torch.Generator().manual_seed(torch.initial_seed()),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )

    @property
    def _any(self) -> CocoDataset:
        assert self.val_set is not None, "call setup first"
        return self.val_set

    def _read(self, name: str, folder: str, transform: Callable[..., Any] | None) -> CocoDataset:
        assert self._files is not None
        annotations = read_coco(self._files, name, folder, masks=self.masks)
        if annotations.problems:
            print(annotations.report())
        return CocoDataset(annotations, self._files, masks=self.masks, transform=transform)

    def _check(self, images: CocoDataset) -> None:
        def fault(index: int) -> str | None:
            try:
                images.open(index)
            except ValueError as error:
                return str(error)
            return None

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # the decoders let go of the interpreter lock
            faults = {index: text for index, text in enumerate(pool.map(fault, range(len(images)))) if text}
        if not faults:
            return
        first = "; ".join(list(faults.values())[:5]) + (f" and {len(faults) - 5} more" if len(faults) > 5 else "")
        text = f"{len(faults)} of {len(images)} images cannot be used: {first}"
        if self.unreadable == "stop" or len(faults) == len(images):
            raise ValueError(f"{text}; repair or remove them, or pass --data.unreadable skip")
        print(f"{text}; skipped")
        self._passed_over += [images.name(index) for index in faults]
        images.annotations.leave_out(faults)


def _listed(annotations: CocoAnnotations) -> str:
    pairs = [f"{i} {name}" for i, name in zip(annotations.category_ids, annotations.class_names, strict=True)]
    return ", ".join(pairs[:5]) + (f" and {len(pairs) - 5} more" if len(pairs) > 5 else "")
