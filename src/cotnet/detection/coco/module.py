"""A set in COCO's format as a Lightning data module."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torchvision.transforms import v2

from cotnet.data.base import BaseDataModule, Loader
from cotnet.data.samplers import DistributedEvalSampler
from cotnet.detection.coco.annotations import CocoAnnotations, read_coco
from cotnet.detection.coco.archive import Files, open_files
from cotnet.detection.coco.dataset import CocoDataset, collate
from cotnet.detection.coco.format import listed
from cotnet.detection.coco.layout import find_layout
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
        train: Name of the training annotations in it; None for those that its layout tells.
        val: Name of the validation annotations in it; None for those that its layout tells, and a part of the training
            images where it has none.
        images: The folder in it that the images' names are relative to; None to find it.
        val_images: The folder of the validation images, where it is another.
        val_fraction: The share of the images that are validated where the set has no validation annotations.
        split_seed: Seed of that split.
        masks: Read masks, too; objects without one are then left out.
        apply_orientation: Annotations refer to images turned upright by their EXIF orientation; None for what the file
            says, else for the pixels as they are stored.
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
        train: str | None = None,
        val: str | None = None,
        images: str | None = None,
        val_images: str | None = None,
        val_fraction: float = 0.2,
        split_seed: int = 0,
        masks: bool = False,
        apply_orientation: bool | None = None,
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
        if not 0 < val_fraction < 1:
            raise ValueError(f"data.val_fraction must be above 0 and below 1, got {val_fraction}")
        self.path = Path(path)
        self.train_file, self.val_file = train, val
        self.images, self.val_images = images, val_images or images
        self.val_fraction, self.split_seed = val_fraction, split_seed
        self.masks = masks
        self.apply_orientation = apply_orientation
        self.flip = flip
        self.epoch_images = epoch_images
        self._classes: tuple[list[str], list[int]] | None = None
        self._skipped: list[str] = []
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
        split = {"train": self.train_file, "val_fraction": self.val_fraction, "split_seed": self.split_seed}
        return {
            "path": str(self.path.absolute()),
            "val": self.val_file,
            "images": self.val_images,
            "masks": self.masks,
            "apply_orientation": self.apply_orientation,
            **({} if self.val_file else split),
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
            **({} if self.val_file else {"val_fraction": self.val_fraction, "split_seed": self.split_seed}),
        }

    def expect_classes(self, class_names: list[str], category_ids: list[int]) -> None:
        """Match the validation annotations, by name, to the classes of a trained network; call it before `setup`.

        Args:
            class_names: The classes that the network knows, in order.
            category_ids: The id of each class.
        """
        self._classes = class_names, category_ids

    def setup(self, stage: str | None = None) -> None:
        """Read and check the annotations; the layout and what was left out are printed.

        Raises:
            ValueError: The annotations are missing, damaged or unusable, or training and validation share no class.
        """
        if self._val_set is not None and (stage != "fit" or self._train_set is not None):
            return
        files = open_files(self.path)
        self._find_annotations(files, stage)
        train, val = self._read(files, stage)
        classes = self._classes or ((train.class_names, train.category_ids) if train is not None else None)
        if classes is not None:
            val = val.with_classes(*classes)
        self._print(val.report())
        if stage == "fit":
            assert train is not None
            flips = v2.Compose([flip(0.5) for flip in _FLIPS[self.flip]]) if self.flip != "none" else None
            self._train_set = CocoDataset(train, files, masks=self.masks, transform=flips)
        self._val_set = CocoDataset(val, files, masks=self.masks)

    def _find_annotations(self, files: Files, stage: str | None) -> None:
        """Set the names of annotations that are not given by the layout of the set."""
        if self.val_file is not None and (self.train_file is not None or stage != "fit"):
            return
        try:
            layout = find_layout(files)
        except ValueError:
            if self.train_file is None:
                raise
            return  # the validation images are a part of those for training
        self.train_file = self.train_file or layout.train
        if self.val_file is None and layout.val != self.train_file:
            self.val_file = layout.val
        if self.train_file is None and (stage == "fit" or self.val_file is None):
            known = " and ".join(name for name in (layout.val, layout.test) if name)
            raise ValueError(f"{self.path} has no training annotations, only {known}; name them: --data.train NAME")
        if (self.train_file, self.val_file) != ("train.json", "val.json"):
            test = f"; {layout.test} is not used" if layout.test else ""
            self._print(
                f"{self.path}: {layout.form}, {self.train_file} and {self.val_file or 'no validation part'}{test}"
            )

    def _read(self, files: Files, stage: str | None) -> tuple[CocoAnnotations | None, CocoAnnotations]:
        """The annotations for training, where they are needed, and for validation."""
        options: dict[str, Any] = {"masks": self.masks, "apply_orientation": self.apply_orientation}
        train = None
        if stage == "fit" or self.val_file is None:
            assert self.train_file is not None
            train = read_coco(files, self.train_file, self.images, **options)
            self._print(train.report())
        if self.val_file is not None:
            return train, read_coco(files, self.val_file, self.val_images, **options)
        assert train is not None
        train, val = train.split(self.val_fraction, seed=self.split_seed)
        self._print(
            f"{train.source}: {len(val.images)} of {len(train.images) + len(val.images)} images are for validation, "
            f"drawn with data.split_seed {self.split_seed}"
        )
        return train, val

    def _print(self, text: str) -> None:
        if text and self.rank == 0:
            print(text, flush=True)

    def check_images(self) -> None:
        """Decode every image once, and skip those that cannot be used as far as ``skip_unreadable`` allows.

        Raises:
            ValueError: There are more of them in a split than are tolerated, or none is left.
        """
        for images in (self._train_set, self._val_set):
            if images is not None:
                self._check(images)

    def _check(self, images: CocoDataset) -> None:
        faults: dict[int, str] = {}
        turned = []
        with ThreadPoolExecutor(min(8, available_cpus())) as pool:  # decoders release the interpreter lock
            for index, result in enumerate(pool.map(partial(_check_image, images), range(len(images)))):
                if isinstance(result, str):
                    faults[index] = result
                elif result:
                    turned.append(images.name(index))
        if turned and not images.annotations.upright:
            self._print(
                f"{len(turned)} of {len(images)} images have an EXIF orientation: {listed(turned)}. Their annotations "
                "are taken for the pixels as they are stored, while cotnet predict turns images upright; if they refer "
                "to the upright images, pass --data.apply_orientation true"
            )
        texts = [*images.annotations.unreadable, *faults.values()]
        if not texts:
            return
        count = len(images) + len(images.annotations.unreadable)
        first = "; ".join(texts[:5]) + (f" and {len(texts) - 5} more" if len(texts) > 5 else "")
        text = f"{len(texts)} of {count} images cannot be used: {first}"
        if len(texts) > self.skip_unreadable or len(texts) == count:
            raise ValueError(f"{text}; repair or remove them, or pass --data.skip_unreadable {len(texts)}")
        self._print(f"{text}; skipped")
        self._skipped += [*images.annotations.unreadable, *(images.name(index) for index in faults)]
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


def _check_image(images: CocoDataset, index: int) -> str | bool:
    """What is wrong with an image, or whether its EXIF orientation turns it."""
    try:
        return images.check(index)
    except ValueError as error:
        return str(error)
